//! Go's `fmt.Sprintf` for the values that templates have.

use std::borrow::Cow;

use serde_json::Value;

use super::functions::{MAX_TEXT, plain, type_name};

/// The widest field and the greatest precision that are honoured.
const MAX_WIDTH: usize = 1 << 12;

/// Flags, width and precision of a verb.
#[derive(Clone, Copy, Default)]
struct Spec {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Format values.
pub fn format(format: &str, args: &[Cow<'_, Value>]) -> String {
    let mut out = String::new();
    let mut letters = format.chars().peekable();
    let mut next = 0;
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        // A few letters can ask for thousands: whoever called it has no use for more.
        if out.len() > MAX_TEXT {
            return out;
        }
        let mut spec = Spec::default();
        while let Some(&flag) = letters.peek() {
            match flag {
                '+' => spec.plus = true,
                '-' => spec.minus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            letters.next();
        }
        spec.width = number(&mut letters, args, &mut next, &mut out, "BADWIDTH").map(|width| {
            spec.minus |= width < 0;
            usize::try_from(width.unsigned_abs()).unwrap_or(MAX_WIDTH).min(MAX_WIDTH)
        });
        if letters.next_if_eq(&'.').is_some() {
            let precision = number(&mut letters, args, &mut next, &mut out, "BADPREC").unwrap_or(0);
            spec.precision = usize::try_from(precision).ok().map(|precision| precision.min(MAX_WIDTH));
        }
        match letters.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match args.get(next) {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => {
                    next += 1;
                    out.push_str(&one(verb, spec, value));
                }
            },
        }
    }
    if next < args.len() {
        let extra: Vec<_> = args[next..].iter().map(|value| format!("{}={}", type_name(value), plain(value))).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// A width or a precision: digits, or `*` for one that is an argument.
fn number(
    letters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    args: &[Cow<'_, Value>],
    next: &mut usize,
    out: &mut String,
    wrong: &str,
) -> Option<i64> {
    if letters.next_if_eq(&'*').is_some() {
        let value = args.get(*next).and_then(|value| value.as_i64());
        *next = args.len().min(*next + 1);
        if value.is_none() {
            out.push_str(&format!("%!({wrong})"));
        }
        return value;
    }
    let mut digits = String::new();
    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    (!digits.is_empty()).then(|| digits.parse().unwrap_or(i64::MAX))
}

fn one(verb: char, spec: Spec, value: &Value) -> String {
    match (verb, value) {
        ('T', value) => pad(spec, type_name(value).into(), false),
        ('v', Value::String(text)) if spec.sharp => pad(spec, quote(text), false),
        ('v', Value::Number(number)) if !number.is_f64() => pad(spec, integer('d', spec, value), true),
        ('v', Value::Number(number)) => pad(spec, general(number.as_f64().unwrap_or_default()), true),
        ('v', value) => pad(spec, cut(spec, plain(value)), false),
        // Elements of a list are formatted one by one.
        (_, Value::Array(list)) => {
            let mut out = String::from("[");
            for (index, value) in list.iter().enumerate() {
                if out.len() > MAX_TEXT {
                    break;
                }
                out.push_str(if index > 0 { " " } else { "" });
                out.push_str(&one(verb, spec, value));
            }
            out + "]"
        }
        ('s', Value::String(text)) => pad(spec, cut(spec, text.clone()), false),
        ('q', Value::String(text)) => pad(spec, quote(&cut(spec, text.clone())), false),
        ('x' | 'X', Value::String(text)) => {
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            pad(spec, if verb == 'X' { hex.to_uppercase() } else { hex }, false)
        }
        ('t', Value::Bool(truth)) => pad(spec, truth.to_string(), false),
        ('d' | 'b' | 'o' | 'O' | 'x' | 'X' | 'c' | 'q' | 'U', Value::Number(number)) if !number.is_f64() => {
            pad(spec, integer(verb, spec, value), !matches!(verb, 'c' | 'q' | 'U'))
        }
        ('f' | 'F' | 'e' | 'E' | 'g' | 'G', Value::Number(number)) if number.is_f64() => {
            pad(spec, float(verb, spec, number.as_f64().unwrap_or_default()), true)
        }
        (_, Value::Null) => format!("%!{verb}(<nil>)"),
        (verb, value) => format!("%!{verb}({}={})", type_name(value), plain(value)),
    }
}

fn cut(spec: Spec, text: String) -> String {
    match spec.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text,
    }
}

/// Fill up to the width; zeros go between sign and digits.
fn pad(spec: Spec, text: String, numeric: bool) -> String {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    match (spec.minus, spec.zero) {
        (true, _) => text + &" ".repeat(missing),
        (false, true) => match text.strip_prefix(['-', '+']).filter(|_| numeric) {
            Some(digits) => format!("{}{}{digits}", &text[..1], "0".repeat(missing)),
            None => "0".repeat(missing) + &text,
        },
        (false, false) => " ".repeat(missing) + &text,
    }
}

fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

fn sign(spec: Spec, negative: bool) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    }
}

fn integer(verb: char, spec: Spec, value: &Value) -> String {
    let negative = value.as_i64().is_some_and(|number| number < 0);
    let amount = value.as_u64().or_else(|| value.as_i64().map(i64::unsigned_abs)).unwrap_or_default();
    let letter = u32::try_from(amount).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
    let digits = match verb {
        'b' => format!("{amount:b}"),
        'o' | 'O' => format!("{amount:o}"),
        'x' => format!("{amount:x}"),
        'X' => format!("{amount:X}"),
        'c' => return letter.to_string(),
        'q' => return format!("{letter:?}"),
        'U' => return format!("U+{amount:04X}"),
        _ => amount.to_string(),
    };
    let prefix = match (verb, spec.sharp) {
        ('x', true) => "0x",
        ('X', true) => "0X",
        ('o', true) => "0",
        ('O', _) => "0o",
        ('b', true) => "0b",
        _ => "",
    };
    let zeros = "0".repeat(spec.precision.unwrap_or(0).saturating_sub(digits.len()));
    format!("{}{prefix}{zeros}{digits}", sign(spec, negative))
}

fn float(verb: char, spec: Spec, value: f64) -> String {
    let amount = value.abs();
    let text = match verb {
        'f' | 'F' => format!("{amount:.*}", spec.precision.unwrap_or(6)),
        'e' | 'E' => exponential(&format!("{amount:.*e}", spec.precision.unwrap_or(6))),
        _ => match spec.precision {
            None => general(amount),
            Some(precision) => {
                let rounded: f64 = format!("{amount:.*e}", precision.max(1) - 1).parse().unwrap_or(amount);
                general(rounded)
            }
        },
    };
    let text = if verb.is_uppercase() { text.to_uppercase() } else { text };
    format!("{}{text}", sign(spec, value < 0.0))
}

/// Go's exponents have a sign and two digits.
fn exponential(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// `%v` of a floating number: the shortest form, with an exponent below -4 and from 21 on.
pub fn general(value: f64) -> String {
    let scientific = format!("{value:e}");
    let exponent: i32 = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    if value != 0.0 && !(-4..21).contains(&exponent) { exponential(&scientific) } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn as_go_prints() {
        let check = |text: &str, args: Value, wanted: &str| {
            let args: Vec<_> = args.as_array().unwrap().iter().map(Cow::Borrowed).collect();
            assert_eq!(format(text, &args), wanted, "{text}");
        };
        check("%d%%|%+d|%x|%#X|%o|%b|%c|%U", json!([5, 5, 255, 255, 8, 5, 65, 65]), "5%|+5|ff|0XFF|10|101|A|U+0041");
        check(
            "%6.2f|%-8v|%08.3f|%e|%g",
            json!([2.5, "a", -2.5, 1234.5, 1e21]),
            "  2.50|a       |-002.500|1.234500e+03|1e+21",
        );
        check("%.2s|%*d|%t|%v|%T", json!(["abc", 4, 7, true, null, "x"]), "ab|   7|true|<nil>|string");
        check("%d %s", json!(["a", 1]), "%!d(string=a) %!s(int=1)");
        check("%s", json!([]), "%!s(MISSING)");
        check("x", json!([1, "a"]), "x%!(EXTRA int=1, string=a)");
        check("%", json!([]), "%!(NOVERB)");
        check("%q %v", json!([["a", "b"], { "b": 1, "a": [1, 2] }]), "[\"a\" \"b\"] map[a:[1 2] b:1]");
    }
}
