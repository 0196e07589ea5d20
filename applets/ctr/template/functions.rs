//! The functions of templates: Go's, and those that Docker adds.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write;

use serde_json::Value;

use super::printf;

/// Names, with the least and the greatest number of arguments.
const FUNCTIONS: &[(&str, usize, usize)] = &[
    ("and", 1, usize::MAX),
    ("eq", 1, usize::MAX),
    ("ge", 2, 2),
    ("gt", 2, 2),
    ("html", 0, usize::MAX),
    ("index", 1, usize::MAX),
    ("join", 2, 2),
    ("js", 0, usize::MAX),
    ("json", 1, 1),
    ("le", 2, 2),
    ("len", 1, 1),
    ("lower", 1, 1),
    ("lt", 2, 2),
    ("ne", 2, 2),
    ("not", 1, 1),
    ("or", 1, usize::MAX),
    ("pad", 3, 3),
    ("print", 0, usize::MAX),
    ("printf", 1, usize::MAX),
    ("println", 0, usize::MAX),
    ("slice", 1, 4),
    ("split", 2, 2),
    ("title", 1, 1),
    ("truncate", 2, 2),
    ("upper", 1, 1),
    ("urlquery", 0, usize::MAX),
];

/// The widest that `pad` makes a text.
const MAX_PAD: usize = 1 << 12;
/// The longest text that one call makes of shorter ones, in bytes.
pub const MAX_TEXT: usize = 1 << 24;
/// The most parts that a text is split into.
const MAX_PARTS: usize = 1 << 20;

/// Whether there is a function of this name.
pub fn exists(name: &str) -> bool {
    FUNCTIONS.iter().any(|(function, ..)| *function == name)
}

/// Call a function. The titles of a table (`header`) are left as they are by those that Docker exempts.
pub fn call<'a>(name: &str, args: Vec<Cow<'a, Value>>, header: bool) -> Result<Cow<'a, Value>, String> {
    let (_, least, most) = FUNCTIONS.iter().find(|(function, ..)| *function == name).copied().unwrap_or((name, 0, 0));
    if args.len() < least || args.len() > most {
        let least = if least == most { least.to_string() } else { format!("at least {least}") };
        return Err(format!("wrong number of args for {name}: want {least} got {}", args.len()));
    }
    if header && matches!(name, "join" | "json" | "lower" | "pad" | "split" | "title" | "truncate" | "upper") {
        return Ok(args.into_iter().next().unwrap_or(Cow::Owned(Value::Null)));
    }
    if name == "index" {
        let failed = |what| format!("error calling index: {what}");
        let mut args = args.into_iter();
        let first = args.next().unwrap_or(Cow::Owned(Value::Null));
        return args.try_fold(first, |value, key| index(value, &key)).map_err(failed);
    }
    let value = match name {
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => compare(name, &args),
        "len" => length(&args[0]),
        "slice" => slice(&args),
        _ => return text(name, &args).map(Cow::Owned),
    };
    value.map(Cow::Owned).map_err(|what| format!("error calling {name}: {what}"))
}

/// Functions that cannot fail but for the types of their arguments.
fn text(name: &str, args: &[Cow<'_, Value>]) -> Result<Value, String> {
    Ok(match name {
        "html" => html(&print(args)).into(),
        "join" => {
            let strings = args[0].as_array().map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
            let strings = strings.flatten().ok_or_else(|| wrong("[]string", &args[0]))?;
            let separator = string(&args[1])?;
            if strings.len().saturating_mul(separator.len()) > MAX_TEXT {
                return Err("error calling join: the text is too long".into());
            }
            strings.join(separator).into()
        }
        "js" => js(&print(args)).into(),
        "json" => Value::String(args[0].to_string()),
        "lower" => string(&args[0])?.to_lowercase().into(),
        "not" => (!is_true(&args[0])).into(),
        "pad" => {
            let (text, before, after) = (string(&args[0])?, width(&args[1])?, width(&args[2])?);
            let pad = |width| " ".repeat(width);
            if text.is_empty() { "".into() } else { format!("{}{text}{}", pad(before), pad(after)).into() }
        }
        "print" => print(args).into(),
        "printf" => printf::format(string(&args[0])?, &args[1..]).into(),
        "println" => {
            let words: Vec<_> = args.iter().map(|arg| plain(arg)).collect();
            format!("{}\n", words.join(" ")).into()
        }
        "split" => {
            let (text, separator) = (string(&args[0])?, string(&args[1])?);
            let parts = if separator.is_empty() { text.len() } else { text.matches(separator).count() };
            if parts > MAX_PARTS {
                return Err("error calling split: there are too many parts".into());
            }
            match separator {
                "" => text.chars().map(|letter| letter.to_string()).collect(),
                separator => text.split(separator).collect(),
            }
        }
        "title" => title(string(&args[0])?).into(),
        "truncate" => string(&args[0])?.chars().take(width(&args[1])?).collect::<String>().into(),
        "upper" => string(&args[0])?.to_uppercase().into(),
        "urlquery" => urlquery(&print(args)).into(),
        _ => return Err(format!("function {name:?} not defined")),
    })
}

/// Go's name of a value's type.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn wrong(wanted: &str, value: &Value) -> String {
    match value {
        Value::Null => format!("invalid value; expected {wanted}"),
        value => format!("wrong type for value; expected {wanted}; got {}", type_name(value)),
    }
}

fn string(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| wrong("string", value))
}

fn width(value: &Value) -> Result<usize, String> {
    let number = value.as_i64().ok_or_else(|| wrong("int", value))?;
    Ok(usize::try_from(number).unwrap_or(0).min(MAX_PAD))
}

/// Go's notion of truth: what is not empty.
pub fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as an action prints it.
pub fn print_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<no value>"),
        value => out.push_str(&plain(value)),
    }
}

/// A value by Go's `%v`.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => printf::general(number.as_f64().unwrap_or_default()),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(list) => format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| key.as_str());
            let pairs: Vec<_> = pairs.into_iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// Go's `Sprint`: a space between two operands of which neither is a text.
fn print(args: &[Cow<'_, Value>]) -> String {
    let mut out = String::new();
    for (index, arg) in args.iter().enumerate() {
        if index > 0 && !arg.is_string() && !args[index - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&plain(arg));
    }
    out
}

fn index<'a>(value: Cow<'a, Value>, key: &Value) -> Result<Cow<'a, Value>, String> {
    match &*value {
        Value::Null => Err("index of untyped nil".into()),
        Value::Object(map) => {
            let name = key.as_str().ok_or_else(|| format!("value has type {}; should be string", type_name(key)))?;
            // The zero value of the map's type.
            let zero = if map.values().all(Value::is_string) { Value::from("") } else { Value::Null };
            Ok(match value {
                Cow::Borrowed(value) => value.get(name).map_or(Cow::Owned(zero), Cow::Borrowed),
                Cow::Owned(mut value) => Cow::Owned(value.get_mut(name).map_or(zero, Value::take)),
            })
        }
        Value::Array(_) | Value::String(_) => {
            let at = key.as_i64().ok_or_else(|| format!("cannot index slice/array with type {}", type_name(key)))?;
            let place = usize::try_from(at).map_err(|_| format!("index out of range: {at}"))?;
            let found = match value {
                Cow::Borrowed(Value::Array(list)) => list.get(place).map(Cow::Borrowed),
                value => match value.into_owned() {
                    Value::Array(mut list) => list.get_mut(place).map(|value| Cow::Owned(value.take())),
                    Value::String(text) => text.as_bytes().get(place).map(|&byte| Cow::Owned(Value::from(byte))),
                    _ => None,
                },
            };
            found.ok_or_else(|| format!("index out of range: {at}"))
        }
        other => Err(format!("can't index item of type {}", type_name(other))),
    }
}

fn length(value: &Value) -> Result<Value, String> {
    match value {
        Value::Null => Ok(0.into()),
        Value::String(text) => Ok(text.len().into()),
        Value::Array(list) => Ok(list.len().into()),
        Value::Object(map) => Ok(map.len().into()),
        other => Err(format!("len of type {}", type_name(other))),
    }
}

fn slice(args: &[Cow<'_, Value>]) -> Result<Value, String> {
    let length = match &*args[0] {
        Value::String(text) => text.len(),
        Value::Array(list) => list.len(),
        other => return Err(format!("can't slice item of type {}", type_name(other))),
    };
    let bound = |place: usize, default: usize| match args.get(place) {
        None => Ok(default),
        Some(value) => {
            let at =
                value.as_i64().ok_or_else(|| format!("cannot index slice/array with type {}", type_name(value)))?;
            usize::try_from(at).ok().filter(|&at| at <= length).ok_or_else(|| format!("index out of range: {at}"))
        }
    };
    let (start, end) = (bound(1, 0)?, bound(2, length)?);
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    Ok(match &*args[0] {
        Value::String(text) => String::from_utf8_lossy(text.as_bytes().get(start..end).unwrap_or_default()).into(),
        Value::Array(list) => list.get(start..end).unwrap_or_default().to_vec().into(),
        _ => Value::Null,
    })
}

fn compare(name: &str, args: &[Cow<'_, Value>]) -> Result<Value, String> {
    let first = &args[0];
    let order = |other: &Value| order(first, other)?.ok_or_else(|| String::from("invalid type for comparison"));
    let ordered = |holds: fn(Ordering) -> bool| order(&args[1]).map(|order| Value::from(holds(order)));
    match name {
        "eq" if args.len() == 1 => Err("missing argument for comparison".into()),
        "eq" => {
            for other in &args[1..] {
                if equal(first, other)? {
                    return Ok(true.into());
                }
            }
            Ok(false.into())
        }
        "ne" => Ok((!equal(first, &args[1])?).into()),
        "lt" => ordered(Ordering::is_lt),
        "le" => ordered(Ordering::is_le),
        "gt" => ordered(Ordering::is_gt),
        _ => ordered(Ordering::is_ge),
    }
}

fn equal(one: &Value, other: &Value) -> Result<bool, String> {
    match (one, other) {
        (Value::Null, _) | (_, Value::Null) => Ok(one == other),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            Err("non-comparable type".into())
        }
        (Value::Bool(one), Value::Bool(other)) => Ok(one == other),
        _ => order(one, other).map(|order| order == Some(Ordering::Equal)),
    }
}

/// `None` for types that have no order.
fn order(one: &Value, other: &Value) -> Result<Option<Ordering>, String> {
    match (one, other) {
        (Value::String(one), Value::String(other)) => Ok(Some(one.cmp(other))),
        (Value::Number(one), Value::Number(other)) if one.is_f64() == other.is_f64() => {
            let whole = |number: &serde_json::Number| {
                number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
            };
            Ok(match (whole(one), whole(other)) {
                (Some(one), Some(other)) => Some(one.cmp(&other)),
                _ => one.as_f64().partial_cmp(&other.as_f64()),
            })
        }
        (Value::Bool(_), Value::Bool(_)) => Ok(None),
        _ => Err("incompatible types for comparison".into()),
    }
}

/// Go's `strings.Title`.
fn title(text: &str) -> String {
    let mut previous = ' ';
    let mut out = String::new();
    for letter in text.chars() {
        if previous.is_alphanumeric() || previous == '_' || previous == '\'' {
            out.push(letter);
        } else {
            out.extend(letter.to_uppercase());
        }
        previous = letter;
    }
    out
}

fn html(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\\' | '\'' | '"' => {
                out.push('\\');
                out.push(letter);
            }
            '<' | '>' | '&' | '=' | '\0'..=' ' if letter != ' ' => {
                let _ = write!(out, "\\u{:04X}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out
}

fn urlquery(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
