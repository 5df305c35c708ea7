// SPDX-License-Identifier: BSD-2-Clause
//! What dumps cost, beside the kernel's own facility: medians of what the guest
//! measured, and their ratios.

use crate::console::Console;
use crate::numbers::{Numbers, kinds, median, sorted};

/// A line for each kind of dump, and one for each that the stock facility took
/// too.
pub(crate) fn lines(console: &Console) -> Vec<String> {
    let kinds = kinds(&console.costs);
    let all = kinds.iter().map(|(kind, numbers)| line(kind, numbers));
    let beside = kinds.iter().filter_map(|(kind, ours)| {
        let (when, format) = kind.split_once("-livedump-")?;
        let stock = kinds.get(&format!("{when}-stock-{format}"))?;
        let of = |name| ratio(middle(ours, name), middle(stock, name));
        let [time, size] = ["ms", "bytes"].map(of);
        let lost = match ours.contains_key("lost_ms") {
            true => format!(", {} of the CPU time lost", of("lost_ms")),
            false => String::new(),
        };
        Some(format!(
            "{when} {format}: {time} of the stock facility's time, {size} of \
             its size{lost}"
        ))
    });
    all.chain(beside).collect()
}

fn middle(numbers: &Numbers, name: &str) -> u64 {
    median(&sorted(numbers, name))
}

fn line(kind: &str, numbers: &Numbers) -> String {
    let times = sorted(numbers, "ms");
    let (least, most) = (times.first(), times.last());
    let mut line = format!(
        "{kind}: {} ms (median of {}; {} to {}), {} bytes",
        median(&times),
        times.len(),
        least.unwrap_or(&0),
        most.unwrap_or(&0),
        middle(numbers, "bytes"),
    );
    if numbers.contains_key("lost_ms") {
        let permille = middle(numbers, "permille");
        line.push_str(&format!(
            "; processes that spin lost {} ms, {}.{} % of their time",
            middle(numbers, "lost_ms"),
            permille / 10,
            permille % 10,
        ));
    }
    line
}

fn ratio(ours: u64, stock: u64) -> String {
    match stock {
        0 => "?".into(),
        _ => format!("{:.3}", ours as f64 / stock as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_facilities_are_told_and_compared() {
        let mut console = Console::default();
        for line in [
            "COST spun-nothing ms 2000 bytes 0 lost_ms 3 permille 1",
            "COST spun-livedump-zstd ms 30 bytes 110 lost_ms 40 permille 600",
            "COST spun-livedump-zstd ms 10 bytes 110 lost_ms 20 permille 600",
            "COST spun-livedump-zstd ms 20 bytes 110 lost_ms 30 permille 605",
            "COST spun-stock-zstd ms 200 bytes 100 lost_ms 90 permille 500",
            "COST idle-livedump-zstd ms 20 bytes 110",
        ] {
            console.line(line);
        }
        assert_eq!(
            lines(&console),
            [
                "idle-livedump-zstd: 20 ms (median of 1; 20 to 20), 110 bytes",
                "spun-livedump-zstd: 20 ms (median of 3; 10 to 30), 110 \
                 bytes; processes that spin lost 30 ms, 60.0 % of their time",
                "spun-nothing: 2000 ms (median of 1; 2000 to 2000), 0 bytes; \
                 processes that spin lost 3 ms, 0.1 % of their time",
                "spun-stock-zstd: 200 ms (median of 1; 200 to 200), 100 \
                 bytes; processes that spin lost 90 ms, 50.0 % of their time",
                "spun zstd: 0.100 of the stock facility's time, 1.100 of its \
                 size, 0.333 of the CPU time lost",
            ]
        );
    }
}
