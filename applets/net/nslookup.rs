//! nslookup: asks a name server for the records of a name.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use clap::Parser;

use super::resolve::{self, A, AAAA, Answer, CNAME, MX, NS, PTR, Settings, TXT, Value};
use crate::common;
use crate::registry::{Applet, Dir};

/// The applet.
pub const APPLET: Applet = Applet {
    name: "nslookup",
    aliases: &[],
    dir: Dir::Bin,
    summary: "Ask a name server for the records of a name",
    run,
};

/// Ask a name server for the records of a name, or for the name of an address.
#[derive(Parser)]
#[command(name = "nslookup")]
struct Options {
    /// Type of record: a, aaaa, cname, mx, ns, ptr or txt; addresses if not given
    #[arg(long = "type", short = 't', value_name = "TYPE", value_parser = parse_kind)]
    kind: Option<u16>,
    /// Name or address
    name: String,
    /// Server, instead of those in /etc/resolv.conf
    server: Option<String>,
}

fn parse_kind(text: &str) -> Result<u16, String> {
    let kinds = [("a", A), ("aaaa", AAAA), ("cname", CNAME), ("mx", MX), ("ns", NS), ("ptr", PTR), ("txt", TXT)];
    let found = kinds.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, kind)| *kind).ok_or_else(|| "not one of a, aaaa, cname, mx, ns, ptr, txt".into())
}

fn run(args: &[OsString]) -> i32 {
    // The tool's tradition is a long option with one hyphen.
    let args: Vec<OsString> = args
        .iter()
        .map(|arg| match arg.to_str() {
            Some(text) if text.starts_with("-type=") => format!("-{text}").into(),
            _ => arg.clone(),
        })
        .collect();
    match common::parse::<Options>(&args, 1) {
        Ok(options) => common::finish("nslookup", main(&options)),
        Err(status) => status,
    }
}

fn main(options: &Options) -> anyhow::Result<i32> {
    let settings = Settings::system();
    let servers: Vec<SocketAddr> = match &options.server {
        None => settings.servers.iter().map(|server| SocketAddr::new(*server, 53)).collect(),
        Some(server) => vec![server_address(server)?],
    };
    let mut out = io::stdout().lock();
    let (candidates, kinds) = match (options.name.parse::<IpAddr>(), options.kind) {
        (Ok(address), None) => (vec![resolve::reverse_name(address)], vec![PTR]),
        (_, Some(kind)) => (resolve::candidates(&options.name, &settings.search), vec![kind]),
        (Err(_), None) => (resolve::candidates(&options.name, &settings.search), vec![A, AAAA]),
    };
    let mut found = None;
    'search: for candidate in candidates {
        for kind in &kinds {
            let (server, answer) = resolve::query(&servers, &candidate, *kind)?;
            let has_records = !answer.records.is_empty();
            let (all, _) = found.get_or_insert_with(|| (Vec::new(), server));
            let all: &mut Vec<Answer> = all;
            all.push(answer);
            if !has_records && *kind == A {
                // The name may have addresses of the other family only.
                continue;
            }
        }
        if found.as_ref().is_some_and(|(answers, _)| answers.iter().any(|answer| !answer.records.is_empty())) {
            break 'search;
        }
    }
    let (answers, server) = found.context("nothing to ask")?;
    writeln!(out, "Server:\t\t{}\nAddress:\t{server}\n", server.ip())?;
    if answers.iter().all(|answer| answer.records.is_empty()) {
        let code = answers.last().map_or(0, |answer| answer.code);
        writeln!(out, "** server can't find {}: {}", options.name, code_name(code))?;
        return Ok(1);
    }
    if answers.iter().all(|answer| !answer.is_authoritative) {
        writeln!(out, "Non-authoritative answer:")?;
    }
    let mut shown = Vec::new();
    for record in
        answers.iter().flat_map(|answer| &answer.records).filter(|record| !matches!(&record.value, Value::Name(_, _)))
    {
        shown.push(record);
    }
    let names = answers.iter().flat_map(|answer| &answer.records);
    let mut aliases: Vec<_> = names.filter(|record| matches!(&record.value, Value::Name(_, _))).collect();
    aliases.dedup();
    for record in aliases.into_iter().chain(shown) {
        match &record.value {
            Value::Address(address) => writeln!(out, "Name:\t{}\nAddress: {address}", record.name)?,
            Value::Name(CNAME, name) => writeln!(out, "{}\tcanonical name = {name}.", record.name)?,
            Value::Name(NS, name) => writeln!(out, "{}\tnameserver = {name}.", record.name)?,
            Value::Name(_, name) => writeln!(out, "{}\tname = {name}.", record.name)?,
            Value::Mail(preference, name) => writeln!(out, "{}\tmail exchanger = {preference} {name}.", record.name)?,
            Value::Text(text) => writeln!(out, "{}\ttext = \"{text}\"", record.name)?,
        }
    }
    Ok(0)
}

/// `ADDRESS`, `ADDRESS:PORT` or a name.
fn server_address(text: &str) -> anyhow::Result<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let found = resolve::addresses(text).with_context(|| format!("cannot find server {text}"))?;
    Ok(SocketAddr::new(*found.first().context("no address")?, 53))
}

fn code_name(code: u8) -> String {
    match code {
        0 => "No answer".into(),
        1 => "FORMERR".into(),
        2 => "SERVFAIL".into(),
        3 => "NXDOMAIN".into(),
        4 => "NOTIMP".into(),
        5 => "REFUSED".into(),
        other => format!("code {other}"),
    }
}
