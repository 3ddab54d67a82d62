//! Flags of every verb that reads events.

use clap::Args;
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
}
