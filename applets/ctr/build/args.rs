//! What `ctr build` takes.

use std::path::PathBuf;

use clap::ValueEnum;
use coracle_cgroups::units::parse_size;
use coracle_image_oci::{Platform, Reference};

use super::secrets::Secret;

/// `build`.
#[derive(clap::Args)]
#[command(override_usage = "ctr build [OPTIONS] PATH | -")]
pub struct BuildArgs {
    /// Name of the image; repeat for further ones
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub tag: Vec<Reference>,

    /// The Containerfile, - for standard input [default: Dockerfile or Containerfile of the context]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Set an ARG, or pass on a variable
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,

    /// Stage to build
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,

    /// Set a label of the image
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,

    /// Carry out every step
    #[arg(long)]
    pub no_cache: bool,

    /// Pull the images that stages begin with, even if they are there
    #[arg(long)]
    pub pull: bool,

    /// Network of RUN: default, host, none
    #[arg(long, value_name = "NETWORK", default_value = "default")]
    pub network: String,

    /// Secret for RUN --mount=type=secret
    #[arg(long, value_name = "id=NAME[,src=FILE|,env=VARIABLE]")]
    pub secret: Vec<Secret>,

    /// Line of /etc/hosts while building
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = parse_host)]
    pub add_host: Vec<String>,

    /// Limit of memory of RUN, in bytes or with k, m, g
    #[arg(short, long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,

    /// Limit of memory and swap together; -1 for no limit of swap
    #[arg(long, value_name = "SIZE", value_parser = parse_swap, allow_hyphen_values = true, requires = "memory")]
    pub memory_swap: Option<i64>,

    /// Microseconds of CPU time in each period
    #[arg(long, value_name = "MICROSECONDS", value_parser = clap::value_parser!(u64).range(1000..))]
    pub cpu_quota: Option<u64>,

    /// Length of the period
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1000..=1_000_000))]
    pub cpu_period: u64,

    /// Print the image's id only
    #[arg(short, long)]
    pub quiet: bool,

    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,

    /// How to tell what is done
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,

    /// Platform to build for; only this machine's
    #[arg(long)]
    pub platform: Option<Platform>,

    /// Where the result goes: type=image[,name=NAME], type=local,dest=FOLDER, type=tar,dest=FILE; FOLDER, or - for a tar archive
    #[arg(short, long, value_name = "DESTINATION", value_parser = parse_output)]
    pub output: Option<Output>,

    /// Seconds since 1970 that the image and all its new files are dated with
    #[arg(long, value_name = "SECONDS")]
    pub timestamp: Option<i64>,

    /// Refused: layers are not merged
    #[arg(long, hide = true, value_parser = refuse_squash, num_args = 0, default_missing_value = "true")]
    pub squash: Option<bool>,

    /// The context: a folder, or - for a tar archive or a Containerfile on standard input
    #[arg(value_name = "PATH")]
    pub context: String,
}

/// `--progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// Plain
    Auto,
    /// A line for each thing that is done
    Plain,
    /// Nothing
    Quiet,
}

/// `--output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// An image of the store.
    Image(Vec<Reference>),
    /// The files, in a folder.
    Local(PathBuf),
    /// The files, as an archive; `None` is standard output.
    Tar(Option<PathBuf>),
}

fn parse_output(text: &str) -> Result<Output, String> {
    if !text.contains('=') {
        return Ok(if text == "-" { Output::Tar(None) } else { Output::Local(text.into()) });
    }
    let (mut kind, mut dest, mut names) = (None, None, Vec::new());
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("type", value)) => kind = Some(value),
            Some(("dest", value)) => dest = Some(value),
            Some(("name", value)) => names.push(value.parse().map_err(|error| format!("{error}"))?),
            _ => return Err(format!("unknown option {field:?}; there are type, dest and name")),
        }
    }
    match (kind, dest) {
        (Some("image" | "docker"), None) => Ok(Output::Image(names)),
        (Some("image" | "docker"), Some(_)) => {
            Err("an image goes to the store; for an archive of it use ctr save".into())
        }
        (Some("local"), Some(dest)) => Ok(Output::Local(dest.into())),
        (Some("tar"), Some("-") | None) => Ok(Output::Tar(None)),
        (Some("tar"), Some(dest)) => Ok(Output::Tar(Some(dest.into()))),
        (Some("local"), None) => Err("dest is required for local exporter".into()),
        (Some(other), _) => Err(format!("unknown type {other:?}; there are image, local and tar")),
        (None, _) => Err("type is required for output".into()),
    }
}

fn refuse_squash(_: &str) -> Result<bool, String> {
    Err("layers are not merged; copy the files into a stage FROM scratch instead".into())
}

fn parse_swap(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    parse_size(text).map(u64::cast_signed).map_err(|error| error.to_string())
}

fn parse_host(text: &str) -> Result<String, String> {
    let wrong = || format!("bad format for add-host: {text:?}");
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(wrong)?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let valid = !name.is_empty() && !name.contains(char::is_whitespace);
    if !valid || address.parse::<std::net::IpAddr>().is_err() {
        return Err(wrong());
    }
    Ok(format!("{name}:{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs() {
        assert_eq!(parse_output("out").unwrap(), Output::Local("out".into()));
        assert_eq!(parse_output("-").unwrap(), Output::Tar(None));
        assert_eq!(parse_output("type=local,dest=x").unwrap(), Output::Local("x".into()));
        assert_eq!(parse_output("type=tar,dest=x.tar").unwrap(), Output::Tar(Some("x.tar".into())));
        assert_eq!(parse_output("type=image,name=a").unwrap(), Output::Image(vec!["a".parse().unwrap()]));
        for wrong in ["type=oci", "type=local", "dest=x", "type=image,push=true", "type=docker,dest=x"] {
            assert!(parse_output(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts() {
        assert_eq!(parse_host("db:10.0.0.1").unwrap(), "db:10.0.0.1");
        assert_eq!(parse_host("db=[::1]").unwrap(), "db:::1");
        for wrong in ["", "db", "db:", "db:x", ":1.2.3.4"] {
            assert!(parse_host(wrong).is_err(), "{wrong}");
        }
    }
}
