//! Flags of every verb that reads events.

use clap::Args;
use sememe::Error;
use sememe::io::EventFields;

#[derive(Debug, Args)]
#[command(next_help_heading = "Events")]
pub struct EventFlags {
    /// Field or column of events with the user [default: user, user_id, userId, reviewerID, …, whichever is there]
    #[arg(long, value_name = "NAME")]
    pub event_user: Option<String>,
    /// The one with the item [default: item, item_id, movieId, parent_asin, asin, …]
    #[arg(long, value_name = "NAME")]
    pub event_item: Option<String>,
    /// The one with the time [default: time, timestamp, unixReviewTime, …; without one, events are in their order]
    #[arg(long, value_name = "NAME")]
    pub event_time: Option<String>,
}

impl EventFlags {
    pub fn fields(self) -> EventFields {
        EventFields { user: self.event_user, item: self.event_item, time: self.event_time }
    }

    /// The flag of a field in an error.
    pub fn flag(field: &str) -> Option<String> {
        match field {
            "event_fields" => Some("--event-user".into()),
            other => other.strip_prefix("event_fields.").map(|part| format!("--event-{part}")),
        }
    }

    /// The library names a setting; the user typed an option.
    pub fn in_flags(error: Error) -> anyhow::Error {
        match error {
            Error::Config { field, problem } => match Self::flag(&field) {
                Some(flag) => crate::failure::usage(format!("`{flag}`: {problem}")),
                None => Error::Config { field, problem }.into(),
            },
            other => other.into(),
        }
    }
}
