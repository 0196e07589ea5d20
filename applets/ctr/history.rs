//! `ctr history`: how an image was made, step by step.

use std::io;

use coracle_image_oci::{Image, Store};
use serde_json::Value;

use super::create::store;
use super::format::{Listing, Row, decimal_size};
use super::ps::ellipsis;
use super::time;

/// `history`.
#[derive(clap::Args)]
pub struct HistoryArgs {
    /// Print as `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Print sizes and ages for people, not for programs
    #[arg(short = 'H', long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    human: bool,

    /// Print whole ids and commands
    #[arg(long)]
    no_trunc: bool,

    /// Print ids only
    #[arg(short, long)]
    quiet: bool,

    /// Image, by name or id
    image: String,
}

const LISTING: Listing<'_> = Listing {
    type_name: "*formatter.historyContext",
    titles: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    columns: r"{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
};

/// A step.
struct Step {
    created: String,
    by: String,
    size: u64,
    comment: String,
}

/// Print how an image was made, the last step first.
pub fn history(args: &HistoryArgs) -> anyhow::Result<i32> {
    let store = store()?;
    let image = store.resolve(&args.image)?;
    let id = if args.no_trunc { image.id().to_string() } else { image.id().short().to_owned() };
    let steps = steps(&store, &image);
    let ids = std::iter::once(id).chain(std::iter::repeat("<missing>".into()));
    let rows: Vec<Row> = steps.iter().rev().zip(ids).map(|(step, id)| row(step, id, args)).collect();
    let columns = if args.human { LISTING.columns.to_owned() } else { LISTING.columns.replace("Since", "At") };
    let format = if args.quiet { Some("{{.ID}}") } else { args.format.as_deref() };
    Listing { columns: &columns, ..LISTING }.print(&mut io::stdout().lock(), format, &rows)?;
    Ok(0)
}

/// What the image says of its steps; of layers beyond that only their sizes are known.
fn steps(store: &Store, image: &Image) -> Vec<Step> {
    let mut layers = image.diff_ids().iter().map(|layer| store.layer_size(layer).unwrap_or(0));
    let said = image.document()["history"].as_array();
    let text = |step: &Value, key: &str| step[key].as_str().unwrap_or_default().to_owned();
    let mut all = Vec::new();
    for step in said.into_iter().flatten() {
        let is_empty = step["empty_layer"].as_bool().unwrap_or(false);
        let size = if is_empty { 0 } else { layers.next().unwrap_or(0) };
        let (created, by, comment) = (text(step, "created"), text(step, "created_by"), text(step, "comment"));
        all.push(Step { created, by, size, comment });
    }
    all.extend(layers.map(|size| Step { created: String::new(), by: String::new(), size, comment: String::new() }));
    all
}

fn row(step: &Step, id: String, args: &HistoryArgs) -> Row {
    let known = time::parse_rfc3339(&step.created).is_some();
    let by = step.by.replace('\t', " ");
    Row::new([
        ("ID", id),
        ("CreatedSince", if known { format!("{} ago", time::human(time::since(&step.created))) } else { "N/A".into() }),
        ("CreatedAt", if known { seconds(&step.created) } else { "0001-01-01T00:00:00Z".into() }),
        ("CreatedBy", if args.no_trunc { by } else { ellipsis(&by, 45) }),
        ("Size", if args.human { decimal_size(step.size) } else { step.size.to_string() }),
        ("Comment", step.comment.clone()),
    ])
}

/// RFC 3339 without a fraction.
fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, fraction)) => format!("{whole}{}", fraction.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn fractions_of_seconds_go() {
        assert_eq!(super::seconds("2024-01-02T03:04:05.678Z"), "2024-01-02T03:04:05Z");
        assert_eq!(super::seconds("2024-01-02T03:04:05+01:00"), "2024-01-02T03:04:05+01:00");
    }
}
