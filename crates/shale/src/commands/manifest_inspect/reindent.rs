//! JSON laid out anew without being read: keys, their order, numbers and escapes stay as they were written.

use crate::terminal::json::Escape;

/// Returns `json`, which must be valid, with one `indent` a level, as Go's `json.Indent` lays it out.
///
/// White space after the value stays, as it does there.
pub fn reindent(json: &str, indent: &str, escape: Escape) -> String {
    let mut output = String::with_capacity(json.len() * 2);
    let value = json.trim_end_matches([' ', '\t', '\r', '\n']);
    let mut depth = 0;
    let mut characters = value.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\r' | '\n' => {}
            '"' => {
                output.push('"');
                while let Some(character) = characters.next() {
                    push(character, escape, &mut output);
                    match character {
                        '"' => break,
                        '\\' => output.extend(characters.next()),
                        _ => {}
                    }
                }
            }
            '{' | '[' => {
                output.push(character);
                while characters.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(end) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    output.push(end);
                } else {
                    depth += 1;
                    break_line(depth, indent, &mut output);
                }
            }
            '}' | ']' => {
                depth -= 1;
                break_line(depth, indent, &mut output);
                output.push(character);
            }
            ',' => {
                output.push(',');
                break_line(depth, indent, &mut output);
            }
            ':' => output.push_str(": "),
            other => output.push(other),
        }
    }
    output + &json[value.len()..]
}

fn push(character: char, escape: Escape, output: &mut String) {
    match (escape, character) {
        (Escape::Html, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') => {
            output.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
        _ => output.push(character),
    }
}

fn break_line(depth: usize, indent: &str, output: &mut String) {
    output.push('\n');
    output.extend(std::iter::repeat_n(indent, depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_white_space_changes() {
        // By Go's json.Indent: strings, numbers and escapes stay, empty containers stay closed.
        let json = r#" {"a":[ ],"b":{ },"c" : [1.0e5,"x\/\"{,",{"d":null}]}"#;
        let expected = "{\n\t\"a\": [],\n\t\"b\": {},\n\t\"c\": [\n\t\t1.0e5,\n\t\t\"x\\/\\\"{,\",\n\t\t{\n\t\t\t\"d\": null\n\t\t}\n\t]\n}";
        assert_eq!(reindent(json, "\t", Escape::Nothing), expected);
        assert_eq!(reindent("[1]\n", "   ", Escape::Nothing), "[\n   1\n]\n");
        assert_eq!(reindent(r#"["<&>"]"#, " ", Escape::Html), "[\n \"\\u003c\\u0026\\u003e\"\n]");
    }
}
