// SPDX-License-Identifier: BSD-2-Clause
//! The sections, in the order of crashinfo(8). A new one is a file and a line
//! in the table.

mod config;
mod cpus;
mod ddb;
mod deadlock;
mod devices;
mod environment;
mod explain;
mod files;
mod header;
mod interfaces;
mod interrupts;
mod ipc;
mod locks;
mod malloc;
mod memory;
mod messages;
mod missing;
mod modules;
mod mounts;
mod panic;
mod processes;
mod protocols;
mod sockets;
mod stacks;
mod swap;
mod uptime;
mod variables;
mod zones;

use super::Kind;

/// All of them.
pub const SECTIONS: &[Kind] = &[
    Kind::new("header", "Dump", header::make),
    Kind::new("uptime", "Uptime", uptime::make),
    Kind::new("panic", "Panic", panic::make),
    Kind::new("explain", "Waits and their roots", explain::make),
    Kind::new("deadlock", "Deadlock", deadlock::make),
    Kind::new("messages", "Message buffer", messages::make),
    Kind::new("cpus", "CPUs", cpus::make),
    Kind::new("processes", "Processes and threads", processes::make),
    Kind::new("stacks", "Stacks", stacks::make),
    Kind::new("locks", "Lock waits", locks::make),
    Kind::new("mounts", "Mounted file systems", mounts::make),
    Kind::new("memory", "Memory", memory::make),
    Kind::new("malloc", "malloc(9) types", malloc::make),
    Kind::new("zones", "UMA zones", zones::make),
    Kind::new("interrupts", "Interrupts", interrupts::make),
    Kind::new("swap", "Swap", swap::make),
    Kind::new("devices", "Device statistics", devices::make),
    Kind::new("ipc", "System V IPC", ipc::make),
    Kind::new("protocols", "Protocol statistics", protocols::make),
    Kind::new("interfaces", "Network interfaces", interfaces::make),
    Kind::new("sockets", "Sockets", sockets::make),
    Kind::new("files", "Open files", files::make),
    Kind::new("environment", "Kernel environment", environment::make),
    Kind::new("variables", "Kernel variables and limits", variables::make),
    Kind::new("modules", "Modules", modules::make),
    Kind::new("config", "Kernel configuration", config::make),
    Kind::new("ddb", "DDB capture buffer", ddb::make),
    Kind::new("missing", "Missing from the dump", missing::make),
];
