//! How lists are printed: `--format` as Docker has it, and its tables.
//!
//! `table TEMPLATE` prints titles and aligned columns, `json` one object a line, `TEMPLATE` one line for each row. A row is a JSON object
//! whose keys are the names that templates use.

use std::io::{self, Write};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::template::{Mode, Template};

/// One kind of list.
pub struct Listing<'a> {
    /// Docker's Go type of a row, for messages.
    pub type_name: &'a str,
    /// Names of all fields, with the titles of their columns.
    pub titles: &'a [(&'a str, &'a str)],
    /// Template of the table that is printed without `--format`, with `\t` between the columns.
    pub columns: &'a str,
}

/// One row.
pub struct Row {
    /// Values by the names of [`Listing::titles`].
    pub fields: Value,
    /// What `.Label "KEY"` looks up.
    pub labels: Map<String, Value>,
}

impl Row {
    /// From `(NAME, TEXT)`.
    pub fn new<const N: usize>(fields: [(&str, String); N]) -> Self {
        Row { fields: fields.into_iter().collect(), labels: Map::new() }
    }

    /// With labels, which are also the field `Labels`: `KEY=VALUE,KEY=VALUE`.
    pub fn with_labels<'b>(mut self, labels: impl IntoIterator<Item = (&'b String, &'b String)>) -> Self {
        self.labels = labels.into_iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
        let pairs = self.labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
        self.fields["Labels"] = pairs.collect::<Vec<_>>().join(",").into();
        self
    }
}

/// Understands what a shell has left of `\t` and `\n`.
fn unescape(format: &str) -> String {
    format.replace("\\t", "\t").replace("\\n", "\n")
}

impl Listing<'_> {
    /// Print rows in the given format, or as the default table.
    ///
    /// # Errors
    /// The template is wrong, or asks for a field that there is not.
    pub fn print(&self, out: &mut impl Write, format: Option<&str>, rows: &[Row]) -> anyhow::Result<()> {
        let format = match format.map(str::trim).filter(|format| !format.is_empty()) {
            None | Some("table") => format!("table {}", unescape(self.columns)),
            Some("json") => "{{json .}}".to_owned(),
            Some(format) => unescape(format),
        };
        let columns = format.strip_prefix("table").filter(|columns| columns.starts_with(char::is_whitespace));
        let template =
            Template::parse(columns.map_or(format.as_str(), str::trim_start)).context("template parsing error")?;
        let mut text = String::new();
        if columns.is_some() {
            let titles: Map<_, _> = self.titles.iter().map(|&(name, title)| (name.to_owned(), json!(title))).collect();
            self.render(&mut text, &template, &titles.into(), Mode { header: true, ..Mode::default() })?;
        }
        for row in rows {
            self.render(&mut text, &template, &row.fields, Mode { labels: Some(&row.labels), ..Mode::default() })?;
        }
        let text = if columns.is_some() { align(&text) } else { text };
        out.write_all(text.as_bytes())?;
        Ok(())
    }

    fn render(&self, out: &mut String, template: &Template, data: &Value, mode: Mode<'_>) -> anyhow::Result<()> {
        let mode = Mode { type_name: Some(self.type_name), ..mode };
        out.push_str(&template.render(data, mode).context("failed to execute template")?);
        out.push('\n');
        Ok(())
    }

    /// Whether a format mentions a field, which may be costly to find out.
    pub fn mentions(format: Option<&str>, field: &str) -> bool {
        format.is_some_and(|format| format.contains(&format!(".{field}")))
    }
}

/// The narrowest column, and the blanks between two: Docker's.
const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Align cells that are ended by tabs: Go's `text/tabwriter`, where a column is a block of consecutive lines that all have it.
pub fn align(text: &str) -> String {
    align_from(text, MIN_WIDTH)
}

/// The same with another width of the narrowest column.
pub fn align_from(text: &str, min_width: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len()]).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < lines.len() {
            // The last cell of a line is no column's.
            let has = |line: &Vec<&str>| column + 1 < line.len();
            let end = start + lines[start..].iter().take_while(|line| has(line)).count();
            let longest = lines[start..end].iter().map(|line| width(line[column])).max().unwrap_or(0);
            widths[start..end].iter_mut().for_each(|widths| widths[column] = min_width.max(longest + PADDING));
            start = end.max(start + 1);
        }
    }
    let mut out = String::new();
    for (index, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if index > 0 {
            out.push('\n');
        }
        for (place, (cell, wanted)) in cells.iter().zip(widths).enumerate() {
            out.push_str(cell);
            if place + 1 < cells.len() {
                out.extend(std::iter::repeat_n(' ', wanted.saturating_sub(width(cell))));
            }
        }
    }
    out
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

/// A document, such as `version` and `info` print: in the given format.
///
/// # Errors
/// The template is wrong, or asks for a field that there is not.
pub fn print_document(format: &str, document: &Value) -> anyhow::Result<()> {
    let text = match format.trim() {
        "json" => document.to_string(),
        format => {
            let template = Template::parse(format).context("template parsing error")?;
            template.render(document, Mode::default())?
        }
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

/// Documents that were asked for by name, such as `inspect` prints: all as one JSON array, or each by the template.
pub struct Inspector<'a> {
    template: Option<Template>,
    format: Option<&'a str>,
    found: Vec<Value>,
    text: String,
}

impl<'a> Inspector<'a> {
    /// For a format.
    ///
    /// # Errors
    /// The template is wrong.
    pub fn new(format: Option<&'a str>) -> anyhow::Result<Self> {
        let template = match format {
            None | Some("" | "json") => None,
            Some(format) => Some(Template::parse(format).context("template parsing error")?),
        };
        Ok(Inspector { template, format, found: Vec::new(), text: String::new() })
    }

    /// Take a document in.
    ///
    /// # Errors
    /// The template asks for what it lacks.
    pub fn add(&mut self, document: Value) -> anyhow::Result<()> {
        match &self.template {
            Some(template) => {
                let rendered = template.render(&document, Mode::default());
                self.text.push_str(&rendered.context("template parsing error")?);
                self.text.push('\n');
            }
            None => self.found.push(document),
        }
        Ok(())
    }

    /// Print them.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn finish(mut self) -> anyhow::Result<()> {
        if self.template.is_none() {
            self.text = match self.format {
                Some("json") => serde_json::to_string(&self.found)?,
                _ if self.found.is_empty() => "[]".into(),
                _ => indent(&self.found)?,
            };
            self.text.push('\n');
        } else if self.text.is_empty() {
            self.text.push('\n');
        }
        io::stdout().write_all(self.text.as_bytes())?;
        Ok(())
    }
}

/// JSON by four blanks, as Docker prints it.
pub fn indent(value: &impl serde::Serialize) -> anyhow::Result<String> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))?;
    Ok(String::from_utf8(out)?)
}

/// A size in decimal units and three digits: `4.27MB`.
pub fn decimal_size(bytes: u64) -> String {
    size(bytes as f64, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3)
}

/// A size in binary units and four digits: `1.949GiB`.
pub fn binary_size(bytes: u64) -> String {
    size(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

fn size(mut number: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while number >= base && unit + 1 < units.len() {
        number /= base;
        unit += 1;
    }
    let whole = 1 + number.max(1.0).log10().floor() as usize;
    let text = format!("{number:.*}", digits.saturating_sub(whole));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: Listing<'_> = Listing {
        type_name: "*formatter.thingContext",
        titles: &[("ID", "THING ID"), ("Name", "NAME"), ("Labels", "LABELS")],
        columns: r"{{.ID}}\t{{.Name}}",
    };

    fn print(format: Option<&str>) -> anyhow::Result<String> {
        let labels = [("com.example.my-key".to_owned(), "v".to_owned())];
        let rows = [
            Row::new([("ID", "1".into()), ("Name", "a".into())]).with_labels(labels.iter().map(|(k, v)| (k, v))),
            Row::new([("ID", "1234567890".into()), ("Name", "bb".into())]).with_labels([]),
        ];
        let mut out = Vec::new();
        LISTING.print(&mut out, format, &rows)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn tables_and_lines() {
        let table = "THING ID     NAME\n1            a\n1234567890   bb\n";
        assert_eq!(print(None).unwrap(), table.replace("\\t", ""));
        assert_eq!(print(Some("table")).unwrap(), table);
        assert_eq!(
            print(Some("table {{.Name}}\\t{{upper .ID}}")).unwrap(),
            "NAME      THING ID\na         1\nbb        1234567890\n"
        );
        assert_eq!(print(Some("{{.ID}}={{.Name}}")).unwrap(), "1=a\n1234567890=bb\n");
        assert_eq!(
            print(Some("json")).unwrap().lines().next(),
            Some(r#"{"ID":"1","Labels":"com.example.my-key=v","Name":"a"}"#)
        );
        assert_eq!(print(Some("table {{.Label \"com.example.my-key\"}}")).unwrap(), "my key\nv\n\n");
        let error = format!("{:#}", print(Some("{{.Foo}}")).unwrap_err());
        assert!(error.ends_with("can't evaluate field Foo in type *formatter.thingContext"), "{error}");
    }

    #[test]
    fn sizes() {
        let decimal = [0, 999, 1000, 1090, 4_270_000, 72_940_000, 999_900_000].map(decimal_size);
        assert_eq!(decimal, ["0B", "999B", "1kB", "1.09kB", "4.27MB", "72.9MB", "1000MB"]);
        assert_eq!([1 << 20, 2_092_900_000].map(binary_size), ["1MiB", "1.949GiB"]);
    }

    #[test]
    fn columns_end_where_a_line_lacks_them() {
        assert_eq!(align("a\tb\nlong cell here\tc\n\nx\ty"), "a                b\nlong cell here   c\n\nx         y");
    }
}
