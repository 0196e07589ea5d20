//! What `ctr build` takes.

use std::path::PathBuf;

use clap::{Args, FromArgMatches, ValueEnum};
use coracle_image_oci::{Platform, Reference};

use super::super::create;
use super::super::options::Options;
use super::super::options_refused::Refused;
use super::super::record::HostConfig;
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

    /// Further context, for --from and FROM
    #[arg(long, value_name = "NAME=FOLDER|docker-image://IMAGE", value_parser = parse_context)]
    pub build_context: Vec<(String, NamedContext)>,

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

    #[command(flatten)]
    pub run: RunOptions,

    /// Secret for RUN --mount=type=secret
    #[arg(long, value_name = "id=NAME[,src=FILE|,env=VARIABLE]")]
    pub secret: Vec<Secret>,

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

    /// Put the image into the store, as is done anyhow
    #[arg(long, conflicts_with = "output")]
    pub load: bool,

    /// Remove the containers of the build, as is done anyhow
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_rm)]
    rm: Option<bool>,

    /// The same when it fails, as is done anyhow
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_rm)]
    force_rm: Option<bool>,

    #[command(flatten)]
    refused: RefusedOptions,

    /// Write what came of it to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,

    /// The context: a folder, or - for a tar archive or a Containerfile on standard input
    #[arg(value_name = "PATH")]
    pub context: String,
}

/// Options of the containers that RUN makes: each is what `ctr run` has by that name.
#[derive(clap::Args)]
pub struct RunOptions {
    /// Network of RUN: default, host, none
    #[arg(long, value_name = "NETWORK", default_value = "default")]
    pub network: String,

    /// Line of /etc/hosts while building
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub add_host: Vec<String>,

    /// Limit of memory of RUN, in bytes or with k, m, g
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,

    /// Limit of memory and swap together; -1 for no limit of swap
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,

    /// Share of CPU time when there is not enough
    #[arg(short, long, value_name = "NUMBER")]
    cpu_shares: Option<String>,

    /// Period of the limit of CPU time in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<String>,

    /// CPU time in each period in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_quota: Option<String>,

    /// CPUs that RUN may use, such as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,

    /// Memory nodes that RUN may use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,

    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,

    /// Resource limit
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
}

impl RunOptions {
    /// What the host grants to a container of RUN, as `ctr run` understands it.
    ///
    /// # Errors
    /// Of a value that is wrong, as `ctr run` would say it.
    pub fn host_config(&self, network: &str) -> anyhow::Result<HostConfig> {
        let mut line = vec!["ctr build".to_owned(), format!("--network={network}")];
        let single = [
            ("memory", &self.memory),
            ("memory-swap", &self.memory_swap),
            ("cpu-shares", &self.cpu_shares),
            ("cpu-period", &self.cpu_period),
            ("cpu-quota", &self.cpu_quota),
            ("cpuset-cpus", &self.cpuset_cpus),
            ("cpuset-mems", &self.cpuset_mems),
            ("shm-size", &self.shm_size),
        ];
        line.extend(single.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("--{name}={value}"))));
        line.extend(self.add_host.iter().map(|value| format!("--add-host={value}")));
        line.extend(self.ulimit.iter().map(|value| format!("--ulimit={value}")));
        line.push("image".into());
        let command = Options::augment_args(clap::Command::new("ctr build"));
        let options = command.try_get_matches_from(line).and_then(|matches| Options::from_arg_matches(&matches));
        // Its first line says it; the others are about the usage of another command.
        let said = |error: clap::Error| error.to_string().lines().next().unwrap_or_default().replacen("error: ", "", 1);
        let options = options.map_err(|error| anyhow::anyhow!(said(error)))?;
        create::host_config(&options)
    }
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

/// `--build-context`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// A folder, for `--from`.
    Folder(PathBuf),
    /// An image, for `--from` and FROM.
    Image(String),
}

fn parse_context(text: &str) -> Result<(String, NamedContext), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .ok_or_else(|| format!("invalid context value: {text}, expected key=value"))?;
    let context = match value.split_once("://") {
        Some(("docker-image", image)) => NamedContext::Image(image.into()),
        Some(_) => return Err(format!("{value}: contexts are not fetched; give a folder or docker-image://IMAGE")),
        None => NamedContext::Folder(value.into()),
    };
    Ok((name.to_ascii_lowercase(), context))
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

fn parse_rm(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        _ => Err("the containers of a build are always removed".into()),
    }
}

/// Options of `docker build` that are refused by name.
#[derive(clap::Args)]
struct RefusedOptions {
    #[arg(long, hide = true, value_parser = Refused("say in the Containerfile what RUN may do"))]
    allow: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("an OCI image made here has labels: --label"))]
    annotation: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("nothing is attested"))]
    attest: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("there is one builder, and no daemon"))]
    builder: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("the cache is this machine's"))]
    cache_from: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("the cache is this machine's"))]
    cache_to: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("Containerfiles are built, nothing else is told of them"))]
    call: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("a build has a cgroup of its own; limit it by --memory and --cpu-quota"))]
    cgroup_parent: Option<String>,

    #[arg(long, hide = true, num_args = 0, default_missing_value = "true", value_parser = Refused("nothing is linted"))]
    check: Option<String>,

    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = Refused::unless_false("there is no daemon that the context is sent to"))]
    compress: Option<String>,

    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = Refused("images are verified as policy.json says"))]
    disable_content_trust: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("it is an option of Windows"))]
    isolation: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("--no-cache carries out every step"))]
    no_cache_filter: Option<String>,

    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = Refused::unless_false("no provenance is recorded"))]
    provenance: Option<String>,

    #[arg(long, hide = true, num_args = 0, default_missing_value = "true", value_parser = Refused("use ctr push"))]
    push: Option<String>,

    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = Refused::unless_false("no bill of materials is made"))]
    sbom: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("a build has no more rights than a container of ctr run"))]
    security_opt: Option<String>,

    #[arg(long, hide = true, num_args = 0, default_missing_value = "true",
          value_parser = Refused("layers are not merged; copy the files into a stage FROM scratch instead"))]
    squash: Option<String>,

    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "default",
          value_parser = Refused("give a key as a --secret"))]
    ssh: Option<String>,
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
    fn containers_are_as_those_of_run() {
        let wrap = |line: &[&str]| {
            let command = RunOptions::augment_args(clap::Command::new("build"));
            let matches = command.try_get_matches_from([&["build"], line].concat()).unwrap();
            RunOptions::from_arg_matches(&matches).unwrap()
        };
        let host = wrap(&["-m", "64m", "--add-host", "db:10.0.0.1"]).host_config("none").unwrap();
        assert_eq!((host.memory, host.network_mode.as_str()), (64 << 20, "none"));
        assert!(host.masked_paths.iter().any(|path| path == "/proc/kcore"), "the kernel's files are covered");
        assert!(!host.privileged);
        for wrong in [["-m", "1"], ["--add-host", "db"], ["--ulimit", "x=1"], ["--shm-size", "x"]] {
            assert!(wrap(&wrong).host_config("none").is_err(), "{wrong:?}");
        }
    }
}
