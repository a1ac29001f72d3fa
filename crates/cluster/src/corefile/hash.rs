//! The running-configuration hash: SHA-512 over Go's JSON of the parsed server blocks.
//!
//! Enters: Corefile text; leaves: what CoreDNS 1.9.1 and later prints as `Running configuration SHA512 = …`
//! (`plugin/reload/reload.go`). Deliberately absent: the MD5 form of versions before 1.9.1.

use std::fmt::Write as _;

use sha2::{Digest, Sha512};

use super::diagnostic::CorefileError;
use super::lexer::Token;
use super::parser::{Block, Env, parse_blocks};

/// The running hash of a Corefile, 128 lower-case hex digits.
///
/// It covers line numbers, so a comment line inserted above other tokens changes it. Exact only if the [`Env`]
/// holds the process's variables and imported files.
///
/// # Errors
/// As [`parse_blocks`].
pub fn running_hash(text: &str, env: &Env<'_>) -> Result<String, CorefileError> {
    Ok(hash_blocks(&parse_blocks(text, env)?.blocks))
}

/// The bytes that the hash covers.
///
/// # Errors
/// As [`parse_blocks`].
pub fn running_json(text: &str, env: &Env<'_>) -> Result<String, CorefileError> {
    Ok(json(&parse_blocks(text, env)?.blocks))
}

/// The running hash of parsed blocks.
#[must_use]
pub fn hash_blocks(blocks: &[Block]) -> String {
    let digest = Sha512::digest(json(blocks).as_bytes());
    digest.iter().fold(String::with_capacity(128), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn json(blocks: &[Block]) -> String {
    // Go marshals a nil slice as null.
    if blocks.is_empty() {
        return "null".to_owned();
    }
    let mut out = String::from("[");
    for (at, block) in blocks.iter().enumerate() {
        out.push_str(if at > 0 { ",{\"Keys\":[" } else { "{\"Keys\":[" });
        for (at, key) in block.keys.iter().enumerate() {
            out.push_str(if at > 0 { "," } else { "" });
            string(&mut out, &key.text);
        }
        out.push_str("],\"Tokens\":{");
        for (at, (name, tokens)) in block.tokens.iter().enumerate() {
            out.push_str(if at > 0 { "," } else { "" });
            string(&mut out, name);
            out.push(':');
            token_list(&mut out, tokens);
        }
        out.push_str("}}");
    }
    out.push(']');
    out
}

fn token_list(out: &mut String, tokens: &[Token]) {
    out.push('[');
    for (at, token) in tokens.iter().enumerate() {
        out.push_str(if at > 0 { ",{\"File\":" } else { "{\"File\":" });
        string(out, token.file.as_deref().unwrap_or(""));
        let _ = write!(out, ",\"Line\":{},\"Text\":", token.line);
        string(out, &token.text);
        out.push('}');
    }
    out.push(']');
}

/// A string as Go's `encoding/json` writes it with HTML escaping on (the default), Go 1.22 and later.
fn string(out: &mut String, text: &str) {
    out.push('"');
    for ch in text.chars() {
        match ch {
            '"' | '\\' => {
                out.push('\\');
                out.push(ch);
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(ch));
            }
            _ => out.push(ch),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector_is_reproduced() {
        let text = ".:53 {\n    errors\n    cache 30\n    reload\n}\n";
        let env = Env::default();
        assert_eq!(
            running_json(text, &env).unwrap(),
            "[{\"Keys\":[\".:53\"],\"Tokens\":{\"cache\":[{\"File\":\"\",\"Line\":3,\"Text\":\"cache\"},\
             {\"File\":\"\",\"Line\":3,\"Text\":\"30\"}],\"errors\":[{\"File\":\"\",\"Line\":2,\"Text\":\"errors\"}],\
             \"reload\":[{\"File\":\"\",\"Line\":4,\"Text\":\"reload\"}]}}]"
        );
        assert_eq!(
            running_hash(text, &env).unwrap(),
            "485f623cc1c6e2a7011f6e764d725f61ad0c2d4a9e333d3480d874af9a77d21d\
             d47bf58832929730841a4f077e9afb9d0ccb2c2f91610e2919ba39f5bec92425"
        );
    }

    #[test]
    fn layout_at_line_ends_keeps_the_hash_and_a_line_above_changes_it() {
        let env = Env::default();
        let hash = |text: &str| running_hash(text, &env).unwrap();
        let plain = hash(". {\n errors\n reload\n}");
        assert_eq!(plain, hash(". {   # note\n\terrors # note\n reload\n}\n# end\n"));
        assert_ne!(plain, hash("# above\n. {\n errors\n reload\n}"));
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        let mut out = String::new();
        string(&mut out, "<&>\u{1}\u{2028}\"\\\n\u{7f}ü");
        assert_eq!(out, "\"\\u003c\\u0026\\u003e\\u0001\\u2028\\\"\\\\\\n\u{7f}ü\"");
    }
}
