//! Go's `printf` over JSON values.

use serde_json::Value;

use super::print::{print_value, quote, type_name};
use crate::terminal::units::significant_digits;

/// The widest field; Go stops at the same number.
const WIDTH_MAX: usize = 1_000_000;

#[derive(Default)]
struct Verb {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Formats as Go's `fmt.Sprintf`, its complaints such as `%!d(string=x)` and `%!(EXTRA int=1)` included.
pub(super) fn sprintf(format: &str, arguments: &[&Value]) -> String {
    let mut output = String::new();
    let mut rest = format.chars().peekable();
    let mut used = 0;
    while let Some(character) = rest.next() {
        if character != '%' {
            output.push(character);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = rest.next_if(|flag| "+-# 0".contains(*flag)) {
            match flag {
                '+' => verb.plus = true,
                '-' => verb.minus = true,
                '#' => verb.sharp = true,
                ' ' => verb.space = true,
                _ => verb.zero = true,
            }
        }
        verb.zero &= !verb.minus;
        verb.width = number(&mut rest);
        if verb.width.is_none() && rest.next_if_eq(&'*').is_some() {
            match arguments.get(used).and_then(|value| value.as_i64()) {
                Some(width) if width.unsigned_abs() <= WIDTH_MAX as u64 => {
                    verb.minus |= width < 0;
                    verb.zero &= !verb.minus;
                    verb.width = Some(width.unsigned_abs() as usize);
                }
                _ => output.push_str("%!(BADWIDTH)"),
            }
            used += 1;
        }
        if rest.next_if_eq(&'.').is_some() {
            verb.precision = Some(number(&mut rest).unwrap_or(0));
        }
        let Some(letter) = rest.next() else {
            output.push_str("%!(NOVERB)");
            break;
        };
        if letter == '%' {
            output.push('%');
            continue;
        }
        match arguments.get(used) {
            None => output.push_str(&format!("%!{letter}(MISSING)")),
            Some(argument) => verb.write(letter, argument, &mut output),
        }
        used += 1;
    }
    if used < arguments.len() {
        output.push_str("%!(EXTRA ");
        for (at, argument) in arguments[used..].iter().enumerate() {
            if at > 0 {
                output.push_str(", ");
            }
            output.push_str(type_name(argument));
            if !argument.is_null() {
                output.push('=');
                print_value(argument, &mut output);
            }
        }
        output.push(')');
    }
    output
}

fn number(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = rest.next_if(char::is_ascii_digit) {
        let digit = digit.to_digit(10).expect("an ASCII digit") as usize;
        number = Some((number.unwrap_or(0) * 10 + digit).min(WIDTH_MAX));
    }
    number
}

impl Verb {
    fn write(&self, letter: char, value: &Value, output: &mut String) {
        match letter {
            'T' => self.pad(type_name(value), output),
            'v' if self.sharp => self.pad(&go_syntax(value), output),
            _ if value.is_null() && letter != 'v' => output.push_str(&format!("%!{letter}(<nil>)")),
            _ => self.write_element(letter, value, output),
        }
    }

    /// Lists and maps apply the verb to each of their elements.
    fn write_element(&self, letter: char, value: &Value, output: &mut String) {
        match value {
            Value::Array(items) => {
                output.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        output.push(' ');
                    }
                    self.write_element(letter, item, output);
                }
                output.push(']');
            }
            Value::Object(_) => {
                output.push_str("map[");
                for (at, (key, item)) in super::print::sorted_entries(value).into_iter().enumerate() {
                    if at > 0 {
                        output.push(' ');
                    }
                    self.write_element(letter, &Value::from(key.as_str()), output);
                    output.push(':');
                    self.write_element(letter, item, output);
                }
                output.push(']');
            }
            Value::Null => self.pad("<nil>", output),
            Value::Bool(truth) if matches!(letter, 't' | 'v') => self.pad(&truth.to_string(), output),
            Value::String(text) => self.write_text(letter, text, output),
            Value::Number(number) if number.is_f64() => {
                self.write_float(letter, number.as_f64().expect("is_f64 was asked"), value, output);
            }
            Value::Number(number) => {
                let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
                self.write_integer(letter, integer.expect("a JSON number that is no float"), value, output);
            }
            Value::Bool(_) => self.complain(letter, value, output),
        }
    }

    fn write_text(&self, letter: char, text: &str, output: &mut String) {
        let cut: String = match self.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text.to_owned(),
        };
        match letter {
            's' | 'v' => self.pad(&cut, output),
            'q' if self.sharp && !cut.contains('`') => self.pad(&format!("`{cut}`"), output),
            'q' => self.pad(&quote(&cut), output),
            'x' => self.pad(&hexadecimal(&cut, self, false), output),
            'X' => self.pad(&hexadecimal(&cut, self, true), output),
            _ => self.complain(letter, &Value::from(text), output),
        }
    }

    fn write_integer(&self, letter: char, integer: i128, value: &Value, output: &mut String) {
        let magnitude = integer.unsigned_abs();
        let (prefix, digits) = match letter {
            'd' | 'v' => ("", magnitude.to_string()),
            'x' => ("0x", format!("{magnitude:x}")),
            'X' => ("0X", format!("{magnitude:X}")),
            'o' => ("0", format!("{magnitude:o}")),
            'O' => ("0o", format!("{magnitude:o}")),
            'b' => ("0b", format!("{magnitude:b}")),
            'c' | 'q' | 'U' => {
                let character = u32::try_from(integer).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
                return match letter {
                    'c' => self.pad(&character.to_string(), output),
                    'q' => {
                        self.pad(&format!("'{}'", quote(&character.to_string()).trim_matches('"')), output)
                    }
                    _ => self.pad(&format!("U+{magnitude:04X}"), output),
                };
            }
            _ => return self.complain(letter, value, output),
        };
        let prefix = if self.sharp || letter == 'O' { prefix } else { "" };
        let digits = format!("{digits:0>width$}", width = self.precision.unwrap_or(0));
        self.pad_number(integer < 0, prefix, &digits, self.precision.is_none(), output);
    }

    fn write_float(&self, letter: char, float: f64, value: &Value, output: &mut String) {
        let precision = self.precision.unwrap_or(6);
        let magnitude = float.abs();
        let digits = match letter {
            'f' | 'F' => format!("{magnitude:.precision$}"),
            'e' | 'E' => {
                let scientific = format!("{magnitude:.precision$e}");
                let (mantissa, exponent) = scientific.split_once('e').expect("the format has an exponent");
                let exponent: i32 = exponent.parse().expect("Rust prints the exponent as a decimal integer");
                let sign = if exponent < 0 { '-' } else { '+' };
                let text = format!("{mantissa}e{sign}{:02}", exponent.abs());
                if letter == 'E' { text.to_uppercase() } else { text }
            }
            'g' | 'G' | 'v' if self.precision.is_some() => significant_digits(magnitude, precision),
            'g' | 'G' | 'v' => {
                let mut text = String::new();
                print_value(&Value::from(magnitude), &mut text);
                text
            }
            _ => return self.complain(letter, value, output),
        };
        let digits = if letter == 'G' { digits.to_uppercase() } else { digits };
        self.pad_number(float.is_sign_negative(), "", &digits, true, output);
    }

    fn pad_number(&self, is_negative: bool, prefix: &str, digits: &str, zeros: bool, output: &mut String) {
        let sign = match () {
            () if is_negative => "-",
            () if self.plus => "+",
            () if self.space => " ",
            () => "",
        };
        let used = sign.len() + prefix.len() + digits.len();
        match self.width {
            Some(width) if self.zero && zeros && width > used => {
                output.push_str(&format!("{sign}{prefix}{}{digits}", "0".repeat(width - used)));
            }
            _ => self.pad_with(' ', &format!("{sign}{prefix}{digits}"), output),
        }
    }

    fn pad(&self, text: &str, output: &mut String) {
        self.pad_with(if self.zero { '0' } else { ' ' }, text, output);
    }

    fn pad_with(&self, filler: char, text: &str, output: &mut String) {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        let filling = filler.to_string().repeat(missing);
        match self.minus {
            true => {
                output.push_str(text);
                output.push_str(&filling);
            }
            false => {
                output.push_str(&filling);
                output.push_str(text);
            }
        }
    }

    fn complain(&self, letter: char, value: &Value, output: &mut String) {
        let mut shown = String::new();
        print_value(value, &mut shown);
        output.push_str(&format!("%!{letter}({}={shown})", type_name(value)));
    }
}

fn hexadecimal(text: &str, verb: &Verb, upper: bool) -> String {
    let pairs: Vec<String> =
        text.bytes().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect();
    let prefix = match (verb.sharp && !text.is_empty(), upper) {
        (false, _) => "",
        (true, false) => "0x",
        (true, true) => "0X",
    };
    // With both flags every byte has its prefix.
    let separator = if verb.space { format!(" {prefix}") } else { String::new() };
    format!("{prefix}{}", pairs.join(&separator))
}

/// Returns the value in Go's syntax, as `%#v` prints it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => quote(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(nested_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(_) => {
            let entries: Vec<String> = super::print::sorted_entries(value)
                .into_iter()
                .map(|(key, item)| format!("{}:{}", quote(key), nested_syntax(item)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
        _ => {
            let mut shown = String::new();
            print_value(value, &mut shown);
            shown
        }
    }
}

fn nested_syntax(value: &Value) -> String {
    if value.is_null() { "interface {}(nil)".to_owned() } else { go_syntax(value) }
}
