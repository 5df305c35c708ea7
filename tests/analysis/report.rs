// SPDX-License-Identifier: BSD-2-Clause
//! `report`: every section of a machine that is known, each that cannot be had
//! with its reason, hostile dumps, and the page.

use super::Case;
use livedump_cli::analysis::Target;
use livedump_cli::analysis::threads::Threads;
use livedump_vmcore::Vmcore;
use livedump_vmcore::elf::Kernel;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const SYSTEM: &str = "size 16M\ncpus 2\nsystem\nprocess 843 livedump\n\
    thread 100670 livedump run 0\nprocess 200 ab\n\
    lock alpha sx owner 100200\nlock beta sx owner 100201\n\
    thread 100200 one wait beta\nthread 100201 two wait alpha\n\
    process 300 cc\nthread 100300 three run 1\n\
    message \"line <one> & two\"\n";

const SECTIONS: [&str; 28] = [
    "header",
    "uptime",
    "panic",
    "explain",
    "deadlock",
    "messages",
    "cpus",
    "processes",
    "stacks",
    "locks",
    "mounts",
    "memory",
    "malloc",
    "zones",
    "interrupts",
    "swap",
    "devices",
    "ipc",
    "protocols",
    "interfaces",
    "sockets",
    "files",
    "environment",
    "variables",
    "modules",
    "config",
    "ddb",
    "missing",
];

impl Case {
    fn report(&self, status: i32) -> Value {
        let started = Instant::now();
        let json = self.run("report", &["--json"]).expect(status).json();
        assert!(started.elapsed() < Duration::from_secs(60));
        json
    }

    fn symbol(&self, name: &str) -> u64 {
        self.machine.symbol(name).unwrap().0
    }
}

/// Where the process that has files open has its file table.
fn file_table(case: &Case) -> u64 {
    let kernel = Kernel::open(Path::new(&case.path("kernel.0"))).unwrap();
    let core = Vmcore::open(Path::new(&case.path("livecore.0"))).unwrap();
    let target = Target::new(&core, &kernel, None).unwrap();
    let threads = Threads::walk(&target).unwrap();
    let proc = threads.procs.iter().find(|p| p.pid == 843).unwrap();
    proc.address.0 + target.types.field("proc", "p_fd").unwrap().offset
}

fn problems(json: &Value, section: &str) -> String {
    json["sections"][section]["problems"].to_string()
}

#[test]
fn each_section_has_what_the_machine_has() {
    for machine in ["amd64", "arm64"] {
        for (release, types) in
            [("13.2", "ctf"), ("14.2", "dwarf"), ("15.1", "ctf")]
        {
            let case = Case::new(&format!(
                "machine {machine}\nrelease {release}-RELEASE\n{SYSTEM}\
                 types {types}\n"
            ));
            let json = case.report(1);
            assert_eq!(json["verdict"], "deadlock", "{machine} {release}");
            assert_eq!(json["reason"], "1 cycle");
            check(&json["sections"]);
        }
    }
}

fn check(s: &Value) {
    let facts = &s["header"]["facts"];
    assert_eq!(
        (&facts["kind"], &facts["hostname"]),
        (&json!("live dump"), &json!("model"))
    );
    assert_eq!(s["uptime"]["facts"]["uptime"], 16);
    assert_eq!(s["uptime"]["facts"]["boottime"], 1_699_999_984);
    assert_eq!(s["panic"]["absent"], "the kernel had not panicked");
    assert_eq!(s["deadlock"]["deadlock"]["cycles"][0]["waiters"], 0);
    let lines = s["messages"]["lines"].to_string();
    assert!(lines.contains("line <one> & two"), "{lines}");
    let cpus = &s["cpus"]["cpus"];
    assert_eq!(
        (&cpus[0]["tid"], &cpus[1]["tid"]),
        (&json!(100_670), &json!(100_300))
    );
    assert_eq!(cpus[1]["command"], "cc");
    assert_eq!(s["cpus"]["notes"], json!(["by pc_curthread"]));
    let all = s["processes"]["ps"]["processes"].as_array().unwrap();
    assert_eq!(all.len(), 5);
    assert_eq!(s["stacks"]["stacks"]["threads"], 6);
    assert_eq!(s["locks"]["waits"][0]["lock"], "beta");
    assert_eq!(s["locks"]["waits"][0]["seconds"], 15.0);
    assert_eq!(s["locks"]["waits"][0]["certain"], true);
    let root = &s["mounts"]["mounts"][0];
    assert_eq!(root["on"], "/");
    assert_eq!(root["from"], "zroot/ROOT/default");
    assert_eq!(root["flags"], json!(["local", "noatime"]));
    assert_eq!(root["free_bytes"], 250 * 4096);
    assert_eq!(s["mounts"]["mounts"][1]["from"], "/dev/<b>&\"'\\x1b[2J");
    let pages = &s["memory"]["pages"];
    for (key, value) in [
        ("page_size", 4096),
        ("page_count", 4000),
        ("free_count", 2500),
        ("active_count", 300),
        ("inactive_count", 200),
        ("laundry_count", 42),
        ("wire_count", 700),
        ("user_wire_count", 3),
    ] {
        assert_eq!(pages[key], value, "{key}");
    }
    assert_eq!(s["memory"]["domains"][0]["free_target"], 100);
    assert_eq!(
        s["memory"]["counters"],
        json!({"v_swtch": 1001, "v_forks": 17})
    );
    assert_eq!(
        s["malloc"]["types"],
        json!([
            {"type": "devbuf", "used": 20, "bytes": 65536, "requests": 30},
            {"type": "temp", "used": 7, "bytes": 512, "requests": 10},
        ])
    );
    let zone = &s["zones"]["zones"][0];
    for (key, value) in [
        ("size", 448),
        ("used", 48),
        ("free", 14),
        ("requests", 60),
        ("fails", 3),
        ("bytes", 62 * 448),
    ] {
        assert_eq!(zone[key], value, "{key}");
    }
    assert_eq!(zone["limit"], Value::Null);
    assert_eq!(
        s["interrupts"]["interrupts"],
        json!([
            {"interrupt": "irq1: atkbd0", "total": 12, "rate": 0},
            {"interrupt": "cpu0:timer", "total": 4000, "rate": 250},
        ])
    );
    assert_eq!(
        s["swap"]["devices"],
        json!([
            {"device": "ada0p3", "bytes": 4 << 20, "used_bytes": 65536}
        ])
    );
    let em0 = &s["interfaces"]["interfaces"][0];
    assert_eq!(em0["name"], "em0");
    assert_eq!(em0["link"], "up");
    let numbers = ["mtu", "ipackets", "oerrors", "obytes", "oqdrops"];
    let numbers = numbers.map(|key| em0[key].as_u64().unwrap());
    assert_eq!(numbers, [1500, 10, 2, 3000, 5]);
    assert!(em0["flags"].to_string().contains("RUNNING"), "{em0}");
    check_programs(s);
    let variables = s["variables"]["variables"].to_string();
    assert!(variables.contains("{\"name\":\"kern.hz\",\"value\":1000}"));
    assert_eq!(s["modules"]["absent"], "no module was loaded");
    assert_eq!(s["config"]["lines"][0], "ident\tGENERIC");
    assert_eq!(s["ddb"]["lines"], json!(["db> show <all>"]));
    let missing = s["missing"]["lines"].to_string();
    assert!(missing.contains("unknown structures: prison"), "{missing}");
}

fn check_programs(s: &Value) {
    let ada0 = &s["devices"]["devices"][0];
    assert_eq!(ada0["device"], "ada0");
    let numbers = ["reads", "read_bytes", "writes", "written_bytes", "pending"];
    let numbers = numbers.map(|key| ada0[key].as_u64().unwrap());
    assert_eq!(numbers, [10, 8192, 2, 512, 0]);
    assert_eq!(ada0["read_seconds"], 3.5);
    assert_eq!(ada0["busy_seconds"], 4.0);
    assert_eq!(s["devices"]["devices"][1]["pending"], 1);
    assert_eq!(
        s["devices"]["cpu"][4],
        json!({"state": "idle", "ticks": 60, "percent": 75})
    );
    assert_eq!(s["devices"]["problems"], json!([]));
    assert_eq!(
        s["protocols"]["counters"],
        json!([
            {"vnet": 0, "protocol": "tcp", "counter": "tcps_connattempt", "value": 3},
            {"vnet": 0, "protocol": "tcp", "counter": "tcps_connects", "value": 1001},
        ])
    );
    let note = "counters that are 0 are left out, of tcp, udp";
    assert_eq!(s["protocols"]["notes"], json!([note]));
    let inet = s["sockets"]["inet"].as_array().unwrap();
    let words = |key: &str| {
        let all = inet.iter().map(|it| it[key].as_str().unwrap_or("none"));
        all.collect::<Vec<_>>()
    };
    assert_eq!(words("protocol"), ["tcp46", "tcp4", "tcp4", "udp6"]);
    let ends = ["*:22", "127.0.0.1:22", "127.0.0.1:22", "[fe80::1%2]:546"];
    assert_eq!(words("local"), ends);
    let ends = ["*:*", "192.0.2.7:49152", "192.0.2.7:49153", "*:*"];
    assert_eq!(words("foreign"), ends);
    assert_eq!(words("state"), ["LISTEN", "ESTABLISHED", "TIME_WAIT", "none"]);
    assert_eq!(words("processes"), ["none", "livedump (843)", "none", "none"]);
    let queue = ["complete", "incomplete", "limit"];
    assert_eq!(queue.map(|key| &inet[0][key]), [1, 2, 128]);
    assert_eq!(inet[0]["receive_bytes"], Value::Null);
    let buffers = ["receive_bytes", "send_bytes"];
    assert_eq!(buffers.map(|key| &inet[1][key]), [17, 4]);
    let local = &s["sockets"]["local"];
    assert_eq!(local[0]["peer"], local[1]["pcb"]);
    assert_eq!(local[0]["peer_path"], "/var/run/log");
    assert_eq!(local[1]["path"], "/var/run/log");
    assert_eq!(local[0]["processes"], "livedump (843)");
    assert_eq!(local[0]["receive_bytes"], 5);
    assert_eq!(s["sockets"]["problems"], json!([]));
    let files = s["files"]["files"].as_array().unwrap();
    let numbers: Vec<_> = files.iter().map(|it| &it["descriptor"]).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let file = &files[0];
    for (key, value) in [
        ("command", "livedump"),
        ("type", "vnode"),
        ("mode", "rw"),
        ("vnode", "regular"),
        ("mount", "/var"),
        ("path", "/var/notes"),
    ] {
        assert_eq!(file[key], value, "{key}");
    }
    assert_eq!((&file["pid"], &file["inode"]), (&json!(843), &json!(42)));
    assert_eq!(files[1]["type"], "socket");
    assert_eq!(files[1]["data"], inet[1]["socket"]);
    assert_eq!(files[2]["data"], local[0]["socket"]);
    for (part, id, more) in [
        ("queues", 0x5_0001, ("limit_bytes", 2048)),
        ("semaphores", 0x5_0001, ("semaphores", 17)),
        ("segments", 0x5_0001, ("bytes", 65536)),
    ] {
        let all = s["ipc"][part].as_array().unwrap();
        assert_eq!(all.len(), 1, "{part}");
        let it = &all[0];
        assert_eq!((&it["id"], &it["key"]), (&json!(id), &json!(5432)));
        assert_eq!((&it["mode"], &it["uid"]), (&json!("640"), &json!(1002)));
        assert_eq!(it[more.0], more.1, "{part}");
    }
    assert_eq!(s["ipc"]["segments"][0]["removed"], true);
    let limits = s["ipc"]["limits"].to_string();
    assert!(limits.contains("{\"limit\":\"shmmax\",\"value\":536870912}"));
}

#[test]
fn sections_are_in_order_with_their_keys_in_every_form() {
    let case = Case::new(SYSTEM);
    let run = case.run("report", &["--json"]).expect(1);
    let json = run.json();
    let keys: Vec<_> = json.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["changed", "debug", "file", "kernel", "reason", "sections", "verdict"]
    );
    // The object as it is written: a reader may see the order.
    let places = SECTIONS.map(|id| {
        let key = format!("\"{id}\":{{\"title\":");
        run.text().find(&key).unwrap_or_else(|| panic!("{id}"))
    });
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(json["sections"].as_object().unwrap().len(), SECTIONS.len());
    let text = case.run("report", &[]).expect(1);
    let rule = format!("\n{}\n", "-".repeat(72));
    let titles: Vec<_> = text.text().split(&rule).skip(1).collect();
    assert_eq!(titles.len(), SECTIONS.len());
    for (part, id) in titles.iter().zip(SECTIONS) {
        let title = json["sections"][id]["title"].as_str().unwrap();
        assert!(part.starts_with(&format!("{title}\n\n")), "{part}");
        // None is left out silently.
        assert!(part.trim().len() > title.len(), "{part}");
    }
}

#[test]
fn a_secret_is_in_no_form() {
    let case = Case::new(SYSTEM);
    for form in [&[][..], &["--html"], &["--json"]] {
        let run = case.run("report", form).expect(1);
        let text = run.text();
        assert!(text.contains("kern.geom.eli.passphrase"));
        assert!(!text.contains("hunter2"), "{form:?}");
    }
}

#[test]
fn what_cannot_be_had_says_why() {
    let case = Case::new(&format!("{SYSTEM}types none\n"));
    let json = case.report(3);
    assert_eq!(json["verdict"], "undetermined");
    for (id, word) in [
        ("deadlock", "thread.td_state"),
        ("mounts", "mount.mnt_list"),
        ("memory", "vmmeter.v_page_size"),
        ("malloc", "malloc_type.ks_next"),
        ("zones", "uma_keg.uk_link"),
        ("interfaces", "ifnet.if_link"),
        ("swap", "swdevt.sw_list"),
        ("devices", "devstat.dev_links"),
        ("ipc", "msqid_kernel"),
        ("protocols", "pcpu.pc_zpcpu_offset"),
        ("sockets", "socket.so_options"),
        ("files", "filedesc"),
    ] {
        let why = json["sections"][id]["absent"].to_string();
        assert!(why.contains(word), "{id}: {why}");
        assert!(why.contains("--debug"), "{id}: {why}");
    }
    // Without types it is the threads that tell.
    let cpus = &json["sections"]["cpus"];
    assert_eq!(cpus["notes"][0], "by td_oncpu", "{cpus}");
    assert_eq!(cpus["cpus"][0]["tid"], 100_670);
    // A machine that has none of it.
    let plain = SYSTEM.replace("system\n", "");
    let json = Case::new(&plain).report(1);
    for id in [
        "mounts",
        "memory",
        "malloc",
        "zones",
        "interrupts",
        "swap",
        "devices",
        "ipc",
        "protocols",
        "sockets",
        "files",
    ] {
        let section = &json["sections"][id];
        assert!(section["absent"].is_string(), "{id}: {section}");
    }
    let text = Case::new(&plain).run("report", &[]).expect(1);
    assert!(text.text().contains("\nSwap\n\nunknown: "), "{}", text.text());
}

#[test]
fn a_dump_without_its_kernel_has_its_header_and_messages() {
    let case = Case::new(SYSTEM);
    std::fs::remove_file(case.path("kernel.0")).unwrap();
    std::fs::remove_file(case.path("kernel.last")).unwrap();
    let run = crate::tool::run(["report", "--json", &case.path("livecore.0")]);
    let json = run.expect(3).json();
    assert_eq!(json["kernel"], Value::Null);
    let s = &json["sections"];
    assert_eq!(s["header"]["facts"]["hostname"], "model");
    assert!(s["messages"]["lines"].to_string().contains("line <one>"));
    let why = s["mounts"]["absent"].as_str().unwrap();
    assert!(why.contains("no kernel file found"), "{why}");
    // One that is named has to be right.
    let other = Case::new("release 14.2-RELEASE\nsize 16M\n");
    let (kernel, dump) = (other.path("kernel.0"), case.path("livecore.0"));
    crate::tool::run(["report", "-k", &kernel, &dump]).expect(2);
    crate::tool::run(["report", &case.path("info.0")]).expect(2);
}

#[test]
fn a_panic_has_its_string_and_its_stack() {
    let case = Case::new(SYSTEM);
    let text = case.symbol("osrelease");
    case.poke64(case.symbol("panicstr"), text);
    let json = case.report(1);
    let panic = &json["sections"]["panic"];
    assert_eq!(panic["facts"]["panic"], "15.1-RELEASE");
    let thread = panic["facts"]["thread"].as_str().unwrap();
    assert!(thread.starts_with("thread 100"), "{thread}");
    assert!(!panic["stack"].as_array().unwrap().is_empty());
    assert_eq!(json["sections"]["header"]["facts"]["kind"], "panic");
}

#[test]
fn lists_that_lead_back_or_nowhere_end_and_say_so() {
    let lists = [
        ("mountlist", "mounts", 16),
        ("kmemstatistics", "malloc", 0),
        ("uma_kegs", "zones", 16),
        ("swtailq", "swap", 24),
    ];
    for (symbol, section, link) in lists {
        let case = Case::new(SYSTEM);
        let at = case.symbol(symbol);
        let first = case.dir.judge("livecore.0").read64(at).unwrap();
        case.poke64(first + link, first);
        let json = case.report(1);
        let text = problems(&json, section);
        assert!(text.contains("linked twice"), "{section}: {text}");
        for wrong in [1, 0xdead_0000, u64::MAX] {
            case.poke64(first + link, wrong);
            let json = case.report(1);
            let text = problems(&json, section);
            assert!(text.contains(symbol), "{wrong:#x} {section}: {text}");
            case.poke64(at, wrong);
            let json = case.report(1);
            let s = &json["sections"][section];
            let told = !s["absent"].is_null()
                || !s["problems"].as_array().unwrap().is_empty();
            assert!(told, "{wrong:#x}: {s}");
            case.poke64(at, first);
        }
    }
}

/// The lists of sockets, of devices, and the tables of files and of IPC.
#[test]
fn what_programs_use_may_lead_back_or_nowhere() {
    let case = Case::new(SYSTEM);
    let read = |at: u64| case.dir.judge("livecore.0").read64(at).unwrap();
    let tcb = case.symbol("vnet_entry_tcbinfo");
    let base = read(read(case.symbol("vnet0")) + 32);
    let head = tcb.wrapping_add(base) + 8;
    let first = read(head);
    let unpcb = case.symbol("unp_shead");
    let local = read(unpcb) + 184;
    let devices = case.symbol("device_statq");
    let device = read(devices) + 16;
    let proc = file_table(&case);
    for (at, again, section, word) in [
        (first, first, "sockets", "tcbinfo"),
        (head, 0xdead_0000, "sockets", "tcbinfo"),
        (local, read(unpcb), "sockets", "unp_shead"),
        (local, u64::MAX, "sockets", "unp_shead"),
        (device, read(devices), "devices", "device_statq"),
        (device, 8, "devices", "device_statq"),
        (case.symbol("msqids"), 0xdead_0000, "ipc", "msqids"),
        (case.symbol("shmsegs"), u64::MAX, "ipc", "shmsegs"),
        (proc, 0xdead_0000, "files", "the file table of process 843"),
    ] {
        let old = read(at);
        case.poke64(at, again);
        let json = case.report(1);
        let s = &json["sections"][section];
        let told = format!("{} {}", s["absent"], s["problems"]);
        assert!(told.contains(word), "{section} {again:#x}: {told}");
        case.poke64(at, old);
    }
    // A table of four billion files, of which few are in memory.
    let table = read(read(proc));
    case.poke(table, &u32::MAX.to_le_bytes());
    let json = case.report(1);
    let text = problems(&json, "files");
    assert!(text.contains("of process 843"), "{text}");
    // Everything in it is something else.
    let known = json["sections"]["files"]["files"].as_array().unwrap();
    assert!(known.iter().any(|it| it["path"] == "/var/notes"));
    case.poke(table, &4u32.to_le_bytes());
    let at = table + 8 + 48;
    let file = read(at);
    for (offset, value) in [(24u64, 1u64), (24, table), (40, 99)] {
        let old = read(file + offset);
        case.poke64(file + offset, value);
        let json = case.report(1);
        let it = &json["sections"]["files"]["files"][0];
        assert_eq!(it["descriptor"], 1, "{it}");
        case.poke64(file + offset, old);
    }
    // A counter that is not there, one that was never made.
    let counters = case.symbol("vnet_entry_tcpstat").wrapping_add(base);
    for wrong in [0, 0xdead_0000, 1 << 62] {
        case.poke64(counters, wrong);
        let json = case.report(1);
        let text = problems(&json, "protocols");
        assert!(text.contains("tcp: 1 of 3 counters are unknown"), "{text}");
        let all = &json["sections"]["protocols"]["counters"];
        assert_eq!(all[0]["counter"], "tcps_connects");
    }
    // More elements than a table can have.
    let count = case.symbol("shmalloced");
    case.poke(count, &u32::MAX.to_le_bytes());
    let text = problems(&case.report(1), "ipc");
    assert!(text.contains("shmalloced is 4294967295"), "{text}");
    // A device that counted while it was copied.
    case.poke(read(devices), &8u32.to_le_bytes());
    let text = problems(&case.report(1), "devices");
    assert!(text.contains("counted while they were copied: 1"), "{text}");
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    let case = Case::new(SYSTEM);
    for (symbol, bytes, section) in [
        ("mp_maxid", 4, "malloc"),
        ("vm_ndomains", 4, "zones"),
        ("sintrcnt", 8, "interrupts"),
        ("sintrnames", 8, "interrupts"),
        ("db_capture_bufoff", 4, "ddb"),
    ] {
        let at = case.symbol(symbol);
        let old = case.dir.judge("livecore.0").read64(at).unwrap();
        case.poke(at, &u64::MAX.to_le_bytes()[..bytes]);
        let json = case.report(1);
        let why = json["sections"][section]["absent"].to_string();
        assert!(why.contains(symbol), "{section}: {why}");
        case.poke(at, &old.to_le_bytes()[..bytes]);
    }
}

#[test]
fn pointers_to_anywhere_are_unknown_and_not_followed() {
    let case = Case::new(SYSTEM);
    let read = |at: u64| case.dir.judge("livecore.0").read64(at).unwrap();
    // A counter, a name, the table of the environment, a pcpu.
    case.poke64(case.symbol("vm_cnt"), 0xdead_0000);
    case.poke64(read(case.symbol("kmemstatistics")) + 16, 8);
    case.poke64(case.symbol("kenvp"), u64::MAX - 7);
    let mount = read(case.symbol("mountlist"));
    case.poke(mount + 64 + 128, &[b'x'; 88]);
    let json = case.report(1);
    let s = &json["sections"];
    assert_eq!(s["memory"]["counters"]["v_swtch"], Value::Null);
    assert_eq!(s["memory"]["counters"]["v_forks"], 17);
    assert!(s["malloc"]["types"].to_string().contains("\"type\":null"));
    assert!(s["environment"]["absent"].is_string(), "{}", s["environment"]);
    assert_eq!(s["mounts"]["mounts"][0]["on"], Value::Null);
    case.poke64(case.symbol("cpuid_to_pcpu"), 0xdead_0000);
    let json = case.report(1);
    let s = &json["sections"];
    assert!(s["malloc"]["absent"].is_string());
    assert!(problems(&json, "memory").contains("counters are not known"));
    assert_eq!(s["cpus"]["notes"][0], "by td_oncpu");
}

/// The tags of a page, each opened and closed in order; attributes are quoted.
fn check_nesting(page: &str) {
    const EMPTY: [&str; 4] = ["!DOCTYPE", "meta", "input", "br"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.find('>').expect("a tag ends");
        let (tag, behind) = (&rest[..end], &rest[end + 1..]);
        rest = behind;
        let name = tag.split([' ', '\n']).next().unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        assert!(!tag.contains('<'), "<{tag}>");
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "</{name}>"),
            None if EMPTY.contains(&name) => {}
            None => open.push(name),
        }
        // No markup in these.
        if name == "script" || name == "style" {
            let end = rest.find(&format!("</{name}>")).unwrap();
            rest = &rest[end..];
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn the_page_is_whole_escaped_and_fetches_nothing() {
    let recipe = format!("{SYSTEM}message \"</pre><script>alert(1)\"\n");
    let case = Case::new(&recipe);
    let to = case.path("report.html");
    case.run("report", &["--html", "-o", &to]).expect(1);
    let page = case.dir.text("report.html");
    check_nesting(&page);
    for id in SECTIONS {
        assert!(page.contains(&format!("<details id=\"{id}\"")), "{id}");
        assert!(page.contains(&format!("href=\"#{id}\"")), "{id}");
    }
    assert_eq!(page.matches("<script").count(), 1);
    assert!(page.contains("&lt;/pre&gt;&lt;script&gt;alert(1)"));
    assert!(page.contains("&lt;img src=x&gt;"));
    assert!(page.contains("/dev/&lt;b&gt;&amp;&quot;&#39;\\x1b[2J"));
    for word in ["http://", "https://", " src=", "url(", "@import", "<link"] {
        let escaped = page.replace("&lt;img src=x&gt;", "");
        assert!(!escaped.contains(word), "{word}");
    }
    assert!(page.contains("default-src &#39;none&#39;"));
    for c in page.chars() {
        assert!(!c.is_control() || "\n\t".contains(c), "{c:?}");
    }
    // Without the script the tools that need it are hidden, and nothing else.
    assert!(page.contains("<div id=\"tools\" hidden>"));
    assert_eq!(page.matches(" hidden").count(), 1 + script_words(&page));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&to).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// " hidden" in the style and the script.
fn script_words(page: &str) -> usize {
    let part = |name: &str| {
        let from = page.find(&format!("<{name}>")).unwrap();
        let to = page.find(&format!("</{name}>")).unwrap();
        page[from..to].matches(" hidden").count()
    };
    part("style") + part("script")
}

#[test]
fn capture_and_watch_write_a_report_that_goes_with_its_dump() {
    use std::os::unix::fs::PermissionsExt;
    let dir = crate::tool::CrashDir::new();
    let recipe = dir.recipe(SYSTEM);
    let taken = dir.capture(&recipe, &["--report", "-q", "--json"]).expect(0);
    let json = taken.json();
    let report = dir.file("core.txt.0");
    assert_eq!(json["report"], report.to_str().unwrap());
    let mode = std::fs::metadata(&report).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = dir.text("core.txt.0");
    assert!(text.contains("deadlock: 2 threads in a cycle"), "{text}");
    assert!(text.contains("zroot/ROOT/default"), "{text}");
    let link = std::fs::read_link(dir.file("core.txt.last")).unwrap();
    assert_eq!(link.to_str(), Some("core.txt.0"));

    let path = dir.path().to_str().unwrap().to_string();
    let watch = [
        "watch",
        "--report",
        "--every",
        "1s",
        "--count",
        "2",
        "--keep",
        "1",
        "-q",
        "--machine",
        &recipe,
        &path,
    ];
    crate::tool::run(watch).expect(0);
    let names = dir.names();
    let reports: Vec<_> =
        names.iter().filter(|name| name.starts_with("core.txt")).collect();
    assert_eq!(reports, ["core.txt.2", "core.txt.last"], "{names:?}");

    // A dump without one that takes its number leaves no other's.
    dir.capture(&recipe, &["-q", "-m", "3"]).expect(0);
    dir.capture(&recipe, &["-q", "-m", "3"]).expect(0);
    dir.capture(&recipe, &["-q", "-m", "3"]).expect(0);
    let names = dir.names();
    assert!(!names.contains(&"core.txt.2".into()), "{names:?}");
    assert!(!names.contains(&"core.txt.last".into()), "{names:?}");
}

#[test]
fn a_report_is_not_written_where_there_is_no_place_for_one() {
    let dir = crate::tool::CrashDir::new();
    let recipe = dir.recipe(SYSTEM);
    let to = ["capture", "--report", "--machine", &recipe, "-"];
    let run = crate::tool::run(to).expect(2);
    assert!(run.stderr.contains("crash directory"), "{}", run.stderr);
    // Known before a dump is taken.
    std::fs::create_dir(dir.file("core.txt.0")).unwrap();
    let run = dir.capture(&recipe, &["--report", "-m", "1"]).expect(2);
    assert!(run.stderr.contains("core.txt.0"), "{}", run.stderr);
    assert!(!dir.names().iter().any(|name| name.starts_with("livecore")));
}

#[test]
fn a_truncated_dump_is_damaged_and_reported_as_far_as_it_goes() {
    let stuck = SYSTEM.replace("wait alpha", "sleep select");
    let json = Case::with(&stuck, &["--registers"]).report(1);
    assert_eq!(json["verdict"], "stuck");
    assert_eq!(json["reason"], "1 cause");
    let recipe = stuck.replace("wait beta", "sleep select");
    let case = Case::with(&recipe, &["--registers"]);
    let whole = case.report(0);
    assert_eq!(whole["verdict"], "sound", "{}", whole["reason"]);
    let path = case.dir.file("livecore.0");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 8192).unwrap();
    let json = case.report(1);
    assert_eq!(json["verdict"], "damaged");
    let reason = json["reason"].as_str().unwrap();
    assert!(reason.starts_with("header: "), "{reason}");
    assert_eq!(json["sections"]["header"]["facts"]["hostname"], "model");
}

#[test]
fn a_hang_has_the_same_signature_as_explain_prints() {
    let case = Case::new(SYSTEM);
    let found = case.run("explain", &["--json"]).expect(1).json();
    let report = case.report(1);
    let explain = &report["sections"]["explain"]["explain"];
    assert_eq!(explain["signature"], found["signature"]);
    assert_eq!(explain["roots"], found["roots"]);
}
