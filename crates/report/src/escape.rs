//! Hostile text made safe for the place it goes to. Each function names the place; none is for two.

use std::fmt::Write as _;

/// True for characters that change how a terminal or a reader shows the text around them.
fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Text for a terminal or a log line: controls, bidirectional and invisible characters become `\u{…}`.
#[must_use]
pub fn terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_treacherous(c) {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Text for an HTML element or a double-quoted attribute.
#[must_use]
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in terminal(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// One CSV cell (RFC 4180), always quoted; a cell that a spreadsheet would run as a formula gets a leading quote mark.
#[must_use]
pub fn csv(text: &str) -> String {
    let text = terminal(text);
    let guard = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ansi_script_and_formula_are_defused() {
        assert_eq!(terminal("a\u{1b}[31mb\u{202e}c"), "a\\u{1b}[31mb\\u{202e}c");
        assert_eq!(
            html("<script>alert('x')</script>\""),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;"
        );
        assert_eq!(csv("=1+1\",x"), "\"'=1+1\"\",x\"");
    }

    proptest! {
        #[test]
        fn nothing_treacherous_passes(text in any::<String>()) {
            prop_assert!(!terminal(&text).chars().any(is_treacherous));
            prop_assert!(!html(&text).contains(['<', '>', '"', '\'']));
            let cell = csv(&text);
            prop_assert!(!cell.contains('\n') && cell[1..cell.len() - 1].replace("\"\"", "").find('"').is_none());
        }
    }
}
