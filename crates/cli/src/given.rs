//! Flags as they were typed, in the groups that clap keeps them in. What does not go together is refused by group, so that a flag that
//! is new to a group is refused with it.

use crate::failure::usage;
use anyhow::Result;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// The group of the flags that are a verb's own.
const OWN: &str = "Flags";

/// Flags of one way to do something: whole groups, which have the names of their structs, and some out of others.
pub struct Takes {
    /// The value of the flag that chooses this way.
    pub choice: &'static str,
    pub groups: &'static [&'static str],
    pub flags: &'static [&'static str],
}

/// The flags of a verb that were typed.
pub struct Given {
    /// Name in code, flag, groups.
    typed: Vec<(String, String, Vec<String>)>,
}

impl Given {
    /// What was typed to the verb of `matches`.
    pub fn of(program: &Command, matches: &ArgMatches) -> Self {
        let mut typed = Vec::new();
        if let Some((verb, matches)) = matches.subcommand()
            && let Some(command) = program.find_subcommand(verb)
        {
            for argument in command.get_arguments().filter(|argument| !argument.is_global_set()) {
                let id = argument.get_id().as_str();
                if let (Ok(true), Some(flag)) = (matches.try_contains_id(id), argument.get_long())
                    && matches.value_source(id) == Some(ValueSource::CommandLine)
                {
                    let groups = command.get_groups().filter(|group| group.get_args().any(|member| member == id));
                    let mut groups: Vec<String> = groups.map(|group| group.get_id().to_string()).collect();
                    if groups.is_empty() {
                        // clap leaves the group of a struct empty that has others within: the verb's own.
                        groups.push(OWN.into());
                    }
                    typed.push((id.to_owned(), flag.to_owned(), groups));
                }
            }
        }
        Self { typed }
    }

    /// The first flag of a group.
    pub fn of_group(&self, group: &str) -> Option<&str> {
        self.typed.iter().find(|(.., groups)| groups.iter().any(|name| name == group)).map(|(_, flag, _)| flag.as_str())
    }

    /// The first flag that is neither in these groups nor one of these.
    pub fn outside(&self, takes: &Takes) -> Option<&str> {
        let taken = |(id, _, groups): &&(String, String, Vec<String>)| !takes.has(id, groups);
        self.typed.iter().find(taken).map(|(_, flag, _)| flag.as_str())
    }

    /// Refuses flags of other ways than the one that was chosen by `by`, and says which ways take them.
    pub fn refuse_others(&self, by: &str, ways: &[Takes], chosen: usize) -> Result<()> {
        let Some((id, flag, groups)) = self.typed.iter().find(|(id, _, groups)| !ways[chosen].has(id, groups)) else {
            return Ok(());
        };
        let others: Vec<String> = ways
            .iter()
            .filter(|takes| takes.has(id, groups))
            .map(|takes| format!("`--{by} {}`", takes.choice))
            .collect();
        Err(usage(format!("`--{flag}` needs {}", sememe::Remedy::join(&others))))
    }
}

impl Takes {
    fn has(&self, id: &str, groups: &[String]) -> bool {
        self.flags.contains(&id) || groups.iter().any(|group| self.groups.contains(&group.as_str()))
    }
}
