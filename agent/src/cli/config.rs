//! The command line with what stands behind it: for `serve` the environment, and below that a file.
//!
//! Every long flag of `serve` is a key of the file and, as `NSLOOKOUT_…`, a variable of the environment: neither has a list
//! of its own that could fall behind. What the file says becomes the default of the flag, so that clap itself keeps the
//! order of strength: flags, environment, file. Each value of the file is first read alone, as the flag's own, so that an
//! error can name its line.

use std::any::TypeId;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::error::{ContextKind, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use toml::de::{DeArray, DeTable, DeValue};

use super::explain::distance;
use super::{Cli, print};
use crate::capture::file::shown;

/// The command that has a file.
const SERVE: &str = "serve";
/// Flags that are about the file itself, and clap's own.
const NO_KEYS: [&str; 4] = ["config", "print-config", "help", "version"];
/// Octets of a file that are read at most.
const MOST_BYTES: u64 = 1024 * 1024;

/// Reads the command line, the environment and the file; `None` where it was asked what they amount to, and was told.
///
/// # Errors
///
/// What is wrong with the file or a variable. What is wrong with the command line is told by clap, which ends the program.
pub(super) fn parse(arguments: &[OsString]) -> Result<Option<Cli>> {
    let command = with_environment(Cli::command());
    let mut matches = match command.clone().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => match variable_of(&error, arguments) {
            Some((variable, value)) => bail!("{variable}={value}: {}", told(&error)),
            None => error.exit(),
        },
    };
    let mut file = Settings::default();
    if let Some(path) = matches.subcommand_matches(SERVE).and_then(|serve| serve.get_one::<PathBuf>("config"))
    {
        file = Settings::read(path)?;
        let command = command.mut_subcommand(SERVE, |serve| file.as_defaults(serve));
        matches = command.try_get_matches_from(arguments).map_err(|error| anyhow!("{}", told(&error)))?;
    }
    if let Some(serve) = matches.subcommand_matches(SERVE)
        && serve.get_flag("print_config")
    {
        print(&listing(serve, &file))?;
        return Ok(None);
    }
    Ok(Some(Cli::from_arg_matches_mut(&mut matches)?))
}

/// Gives every flag of `serve` its variable; one that may be given several times takes commas there.
fn with_environment(command: Command) -> Command {
    command.mut_subcommand(SERVE, |serve| {
        serve.mut_args(|arg| match arg.get_long() {
            Some(long) if !matches!(long, "print-config" | "help" | "version") => {
                let variable = variable(long);
                let arg = if takes_many(&arg) { arg.value_delimiter(',') } else { arg };
                // One that has a variable keeps it: NODE_NAME is what everybody calls it.
                if arg.get_env().is_some() { arg } else { arg.env(variable) }
            }
            _ => arg,
        })
    })
}

/// `--max-series` is `NSLOOKOUT_MAX_SERIES`.
fn variable(long: &str) -> String {
    format!("NSLOOKOUT_{}", long.to_uppercase().replace('-', "_"))
}

fn takes_many(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// The flags that are keys of the file, as the command line has them.
fn keys() -> Vec<Arg> {
    let command = Cli::command();
    let Some(serve) = command.find_subcommand(SERVE) else { return Vec::new() };
    let is_key = |arg: &&Arg| arg.get_long().is_some_and(|long| !NO_KEYS.contains(&long));
    serve.get_arguments().filter(is_key).cloned().collect()
}

/// The variable that a value came from which a flag does not take, and the value.
fn variable_of(error: &clap::Error, arguments: &[OsString]) -> Option<(String, String)> {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return None;
    }
    let flag = error.get(ContextKind::InvalidArg)?.to_string();
    let long = flag.strip_prefix("--")?.split_whitespace().next()?;
    let is_given = |argument: &OsString| {
        argument.to_string_lossy().split('=').next().is_some_and(|word| word == format!("--{long}"))
    };
    let is_set = std::env::var_os(variable(long)).is_some();
    let value = error.get(ContextKind::InvalidValue)?.to_string();
    (is_set && arguments.iter().any(|word| word == SERVE) && !arguments.iter().any(is_given))
        .then(|| (variable(long), value))
}

/// What clap has to say about a value, without what it would add for somebody at a terminal.
fn told(error: &clap::Error) -> String {
    if let Some(source) = std::error::Error::source(error) {
        return source.to_string();
    }
    let context = |kind| error.get(kind).map(ToString::to_string).filter(|text| !text.is_empty());
    match (context(ContextKind::InvalidValue), context(ContextKind::ValidValue)) {
        (Some(value), Some(valid)) => format!("`{value}` is none of {valid}"),
        _ => error.render().to_string().lines().next().unwrap_or_default().replacen("error: ", "", 1),
    }
}

/// What a file says: keys with their values, each as it would be typed.
#[derive(Default)]
struct Settings {
    values: Vec<(String, Vec<String>)>,
}

impl Settings {
    fn read(path: &Path) -> Result<Self> {
        let mut text = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut text))
            .with_context(|| format!("failed to read {} (--config chooses another)", shown(path)))?;
        if text.len() as u64 > MOST_BYTES {
            bail!("{} is no configuration file: it has more than {} KiB", shown(path), MOST_BYTES / 1024);
        }
        let Ok(text) = String::from_utf8(text) else {
            bail!("{} is no configuration file, but no text at all", shown(path))
        };
        Self::parse(&text).map_err(|Wrong { offset, what }| {
            let line = text.get(..offset).unwrap_or_default().matches('\n').count() + 1;
            anyhow!("{} line {line}: {what}", shown(path))
        })
    }

    fn parse(text: &str) -> Result<Self, Wrong> {
        let table = DeTable::parse(text).map_err(|error| Wrong {
            offset: error.span().map_or(0, |span| span.start),
            what: error.message().lines().collect::<Vec<_>>().join(", "),
        })?;
        let keys = keys();
        let mut values: Vec<(String, Vec<String>)> = Vec::new();
        for (key, value) in table.get_ref() {
            let name = key.get_ref().as_ref();
            let wrong = |what: String| Wrong { offset: key.span().start, what };
            let Some(arg) = keys.iter().find(|arg| arg.get_long() == Some(name)) else {
                return Err(wrong(unknown(name, &keys)));
            };
            for (offset, written) in written(arg, value.get_ref(), value.span().start).map_err(wrong)? {
                check(arg, &written).map_err(|what| Wrong { offset, what })?;
                match values.last_mut() {
                    Some((last, list)) if *last == name => list.push(written),
                    _ => values.push((name.to_owned(), vec![written])),
                }
            }
        }
        Ok(Self { values })
    }

    /// The flags of `serve` with these values where nothing stronger gives one.
    fn as_defaults(&self, serve: Command) -> Command {
        serve.mut_args(|arg| {
            let here = self.values.iter().find(|(name, _)| arg.get_long() == Some(name));
            match here {
                Some((_, values)) => arg.default_values(values),
                None => arg,
            }
        })
    }
}

/// What is wrong with a file, and where.
struct Wrong {
    /// Octets from its beginning.
    offset: usize,
    what: String,
}

fn unknown(name: &str, keys: &[Arg]) -> String {
    let longs = keys.iter().filter_map(Arg::get_long);
    let nearest = longs.min_by_key(|long| distance(&name.to_lowercase(), long)).unwrap_or_default();
    format!(
        "there is no key `{}`; the nearest is `{nearest}`, and the long flags of `nslookout serve --help` are all there are",
        name.escape_debug()
    )
}

/// The values of a key as they would be typed, each with its place in the file.
///
/// A flag that may be given several times takes a list, or a table where it takes NAME=VALUE.
fn written(arg: &Arg, value: &DeValue<'_>, offset: usize) -> Result<Vec<(usize, String)>, String> {
    let key = arg.get_long().unwrap_or_default();
    match value {
        DeValue::Array(list) if takes_many(arg) => list_of(arg, list),
        DeValue::Table(table) if takes_many(arg) => {
            let mut pairs = Vec::new();
            named(table, "", &mut |name, place, value| {
                pairs.push((place, format!("{name}={}", scalar(arg, value)?)));
                Ok(())
            })?;
            Ok(pairs)
        }
        DeValue::Array(_) => Err(format!("{key} takes one value, and this is a list")),
        DeValue::Table(_) => Err(format!("{key} takes one value, and this is a table")),
        _ => Ok(vec![(offset, scalar(arg, value)?)]),
    }
}

fn list_of(arg: &Arg, list: &DeArray<'_>) -> Result<Vec<(usize, String)>, String> {
    list.iter().map(|item| Ok((item.span().start, scalar(arg, item.get_ref())?))).collect()
}

/// Every value of a table by its whole name: `linklocal.packets = 5` is a table in a table to TOML.
fn named(
    table: &DeTable<'_>,
    before: &str,
    each: &mut dyn FnMut(&str, usize, &DeValue<'_>) -> Result<(), String>,
) -> Result<(), String> {
    for (key, value) in table {
        let name = format!("{before}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => named(inner, &format!("{name}."), each)?,
            value => each(&name, key.span().start, value)?,
        }
    }
    Ok(())
}

/// A value that is neither list nor table, as it would be typed.
fn scalar(arg: &Arg, value: &DeValue<'_>) -> Result<String, String> {
    let key = arg.get_long().unwrap_or_default();
    let kind = value.type_str();
    let text = match value {
        DeValue::String(text) => text.to_string(),
        // A number is no name, and nobody means the file `8`.
        _ if is_text(arg) => return Err(format!("{key} takes text, and this is a value of the type {kind}")),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| format!("`{}` is out of range", number.as_str()))?,
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(truth) => truth.to_string(),
        _ => return Err(format!("{key} takes no value of the type {kind}")),
    };
    if takes_many(arg) && text.contains(',') {
        return Err(format!("`{}` holds a comma, which separates values: write a list", text.escape_debug()));
    }
    Ok(text)
}

fn is_text(arg: &Arg) -> bool {
    let parser = arg.get_value_parser().type_id();
    parser == TypeId::of::<String>() || parser == TypeId::of::<PathBuf>()
}

/// Would the flag take this value?
fn check(arg: &Arg, value: &str) -> Result<(), String> {
    let key = arg.get_long().unwrap_or_default();
    // A switch takes no value on the command line; as a default it is true or false.
    if !arg.get_action().takes_values() {
        let is_truth = matches!(value, "true" | "false");
        return if is_truth {
            Ok(())
        } else {
            Err(format!("`{value}` is no value of {key}; write true or false"))
        };
    }
    let alone = Command::new(SERVE).no_binary_name(true).disable_help_flag(true).arg(arg.clone());
    match alone.try_get_matches_from([format!("--{key}={value}")]) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{key} = {}: {}", quoted(value), told(&error))),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// What `serve` would run with, as a file that says the same, with the source of each value.
fn listing(serve: &ArgMatches, file: &Settings) -> String {
    let mut out = String::new();
    for arg in keys() {
        let key = arg.get_long().unwrap_or_default();
        let values: Vec<String> = serve
            .get_raw(arg.get_id().as_str())
            .map(|values| values.map(|value| quoted_as(&arg, &value.to_string_lossy())).collect())
            .unwrap_or_default();
        let source = match serve.value_source(arg.get_id().as_str()) {
            Some(ValueSource::CommandLine) => "command line",
            Some(ValueSource::EnvVariable) => "environment",
            Some(_) if file.values.iter().any(|(name, _)| name == key) => "file",
            _ => "default",
        };
        let (comment, value) = match values.as_slice() {
            [] => ("# ", "…".to_owned()),
            [one] if !takes_many(&arg) => ("", one.clone()),
            many => ("", format!("[{}]", many.join(", "))),
        };
        let _ = writeln!(out, "{:<40} # {source}", format!("{comment}{key} = {value}"));
    }
    out
}

/// A value as TOML has it: a number where the flag takes one.
fn quoted_as(arg: &Arg, value: &str) -> String {
    let is_number = value.parse::<u64>().is_ok() && !is_text(arg);
    let is_truth = !arg.get_action().takes_values();
    if is_number || is_truth { value.to_owned() } else { quoted(value) }
}

#[cfg(test)]
mod tests;
