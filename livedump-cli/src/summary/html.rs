// SPDX-License-Identifier: BSD-2-Clause
//! One page: its style and its script are in it, and nothing is fetched. It is
//! whole without the script, which only searches. Everything from the dump is
//! escaped here, whatever was done to it before.

use super::{Cell, Content, Fact, Section, Summary};
use std::fmt::Write;

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");
/// A section with more lines starts closed.
const OPEN_LINES: usize = 60;
/// Nothing is fetched, and nothing but what is here is run.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
                      script-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'";

pub(super) fn write(summary: &Summary) -> String {
    let mut out = String::new();
    let (file, policy) = (escape(&summary.file), escape(POLICY));
    let (verdict, reason) = summary.conclusion();
    let reason = match reason {
        Some(why) => format!(": {}", escape(why)),
        None => String::new(),
    };
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n\
         <meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"{policy}\">\n\
         <meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>livedump report: {file}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#sections\">Skip to the sections</a>\n\
         <header>\n<h1>livedump report</h1>\n\
         <p class=\"file\">{file}</p>\n\
         <p class=\"verdict {verdict}\">{verdict}{reason}</p>\n</header>\n\
         <nav aria-label=\"Contents\">\n\
         <div id=\"tools\" hidden>\n\
         <label for=\"search\">Search</label>\n\
         <input id=\"search\" type=\"search\" autocomplete=\"off\" \
         spellcheck=\"false\">\n\
         <span id=\"found\" role=\"status\"></span>\n\
         <button id=\"open\" type=\"button\">Open all</button>\n\
         <button id=\"close\" type=\"button\">Close all</button>\n\
         </div>\n<ul>\n"
    );
    for section in &summary.sections {
        let class = match section.absent {
            Some(_) => " class=\"absent\"",
            None => "",
        };
        let (id, title) = (section.id, escape(section.title));
        let _ = writeln!(out, "<li{class}><a href=\"#{id}\">{title}</a></li>");
    }
    out.push_str("</ul>\n</nav>\n<main id=\"sections\" tabindex=\"-1\">\n");
    for section in &summary.sections {
        section.html(&mut out);
    }
    let _ =
        write!(out, "</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    out
}

impl Section {
    fn html(&self, out: &mut String) {
        let lines: usize = self.blocks.iter().map(|b| b.content.lines()).sum();
        let open = lines <= OPEN_LINES || self.finding.is_some();
        let open = if open { " open" } else { "" };
        let (id, title) = (self.id, escape(self.title));
        let count = match lines {
            n if n > OPEN_LINES => {
                format!(" <span class=\"count\">{n} lines</span>")
            }
            _ => String::new(),
        };
        let _ = write!(
            out,
            "<details id=\"{id}\"{open}>\n\
             <summary><h2>{title}</h2>{count}</summary>\n"
        );
        if let Some(absent) = &self.absent {
            let text = escape(&absent.sentence());
            let _ = writeln!(out, "<p class=\"note\">{text}</p>");
        }
        for block in &self.blocks {
            block.content.html(self.title, out);
        }
        for note in &self.notes {
            let text = escape(note);
            let _ = writeln!(out, "<p class=\"note\">note: {text}</p>");
        }
        for problem in &self.problems {
            let text = escape(problem);
            let _ =
                writeln!(out, "<p class=\"problem\">incomplete: {text}</p>");
        }
        out.push_str("</details>\n");
    }
}

impl Content {
    fn lines(&self) -> usize {
        match self {
            Self::Facts(facts) => facts.len(),
            Self::Table(_, rows) => rows.len(),
            Self::Lines(lines) | Self::Report(lines, _) => lines.len(),
        }
    }

    fn html(&self, title: &str, out: &mut String) {
        // What scrolls has to be reached by keyboard, too.
        let title = escape(title);
        let scroll =
            format!("tabindex=\"0\" role=\"region\" aria-label=\"{title}\"");
        match self {
            Self::Facts(facts) => {
                let table = "<table class=\"facts\">";
                let _ = writeln!(out, "<div class=\"scroll\" {scroll}>{table}");
                for (label, value) in facts.iter().filter_map(Fact::shown) {
                    let label = escape(label);
                    let class = value.class(false);
                    let value = value.html();
                    let _ = writeln!(
                        out,
                        "<tr><th scope=\"row\">{label}</th>\
                         <td{class}>{value}</td></tr>"
                    );
                }
                out.push_str("</table></div>\n");
            }
            Self::Table(columns, rows) => {
                let _ = writeln!(
                    out,
                    "<div class=\"scroll\" {scroll}><table>\n<thead><tr>"
                );
                for column in *columns {
                    let class = if column.right { " class=\"n\"" } else { "" };
                    let head = escape(column.head);
                    let _ = write!(out, "<th scope=\"col\"{class}>{head}</th>");
                }
                out.push_str("</tr></thead>\n<tbody>\n");
                for row in rows {
                    out.push_str("<tr>");
                    for (column, cell) in columns.iter().zip(row) {
                        let (class, value) =
                            (cell.class(column.right), cell.html());
                        let _ = write!(out, "<td{class}>{value}</td>");
                    }
                    out.push_str("</tr>\n");
                }
                out.push_str("</tbody></table></div>\n");
            }
            Self::Lines(lines) | Self::Report(lines, _) => {
                let _ = write!(out, "<pre {scroll}>");
                for line in lines {
                    let _ = writeln!(out, "{}", escape(line));
                }
                out.push_str("</pre>\n");
            }
        }
    }
}

impl Cell {
    fn html(&self) -> String {
        escape(&self.shown())
    }

    fn class(&self, right: bool) -> &'static str {
        match (self, right) {
            (Self::Unknown, true) => " class=\"n unknown\"",
            (Self::Unknown, false) => " class=\"unknown\"",
            (_, true) => " class=\"n\"",
            (_, false) => "",
        }
    }
}

/// What stands for itself in text and between quotes. What a browser would
/// obey, control characters and marks that turn text around, is shown by its
/// number.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' => out.push('\t'),
            c if livedump_vmcore::path::is_control(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_dump_is_obeyed() {
        assert_eq!(
            escape("<b>&\"'\u{1b}\u{202e}\t\u{e9}"),
            "&lt;b&gt;&amp;&quot;&#39;\\u{1b}\\u{202e}\t\u{e9}"
        );
    }

    #[test]
    fn the_script_and_the_style_end_where_they_should_and_fetch_nothing() {
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("</"));
            for word in ["http", "url(", "@import", "fetch(", "XMLHttp"] {
                assert!(!text.contains(word), "{word}");
            }
        }
    }
}
