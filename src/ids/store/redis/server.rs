//! A server that may go away for a while: commands are sent again, with longer and longer waits, until it is back or patience ends.

use std::time::{Duration, Instant};

use redis::{Client, Cmd, Connection, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};

use crate::error::{Error, Result};

/// The first wait before a command is sent again; each is twice the one before, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long a connection is waited for, greeting and password included.
const LONGEST_CONNECT: Duration = Duration::from_secs(5);

/// How long one answer is waited for. A server that is stopped, or behind a network that swallows packets, says nothing.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);

pub(super) struct Server {
    client: Client,
    connection: Option<Connection>,
    /// The URL without its password.
    pub(super) shown: String,
    pub(super) patience: Duration,
}

impl Server {
    /// Connects. A server that is not there is refused at once, as the URL may be wrong; one that is still loading is waited for.
    pub(super) fn open(url: &str, shown: String, patience: Duration) -> Result<Self> {
        let client = Client::open(url).map_err(|e| Error::config("store", format!("`{shown}`: {e}")))?;
        let mut server = Self { client, connection: None, shown, patience };
        match server.connect() {
            Ok(connection) => server.connection = Some(connection),
            // One that hangs up is there, and on its way down or up.
            Err(e) if e.is_connection_refusal() || e.is_io_error() && !e.is_connection_dropped() => {
                return Err(Error::Store(format!("`{}`: {e}; is a Redis server running there?", server.shown)));
            }
            Err(e) if passes(&e) => {}
            Err(e) => return Err(server.failed(&e)),
        }
        Ok(server)
    }

    fn connect(&self) -> std::result::Result<Connection, RedisError> {
        let most = self.patience.clamp(Duration::from_millis(100), LONGEST_ANSWER);
        let connection = self.client.get_connection_with_timeout(most.min(LONGEST_CONNECT))?;
        connection.set_read_timeout(Some(most))?;
        connection.set_write_timeout(Some(most))?;
        Ok(connection)
    }

    fn try_once<T: FromRedisValue>(&mut self, command: &Cmd) -> std::result::Result<T, RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let answer = command.query(&mut connection);
        // After a timeout the answer to this command would be taken for the next one's: such a connection is dropped.
        if answer
            .as_ref()
            .map_or_else(|e: &RedisError| matches!(e.kind(), ErrorKind::Server(_) | ErrorKind::Extension), |_| true)
        {
            self.connection = Some(connection);
        }
        answer
    }

    /// Sends a command until it is answered. The command must do no harm when it is carried out twice.
    pub(super) fn call<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T> {
        let begun = Instant::now();
        let (mut wait, mut attempts) = (FIRST_WAIT, 1);
        loop {
            match self.try_once(command) {
                Ok(answer) => return Ok(answer),
                Err(e) if !passes(&e) => return Err(self.failed(&e)),
                Err(e) if begun.elapsed() + wait > self.patience => {
                    return Err(Error::Store(format!(
                        "`{}`: {e}; tried {attempts} times in {:.1} s; run again when the server is back, whatever has an ID \
                         keeps it",
                        self.shown,
                        begun.elapsed().as_secs_f64()
                    )));
                }
                Err(e) => tracing::info!("`{}`: {e}; sent again in {wait:?}", self.shown),
            }
            std::thread::sleep(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
            attempts += 1;
        }
    }

    /// An error that stays, with what to do about it.
    fn failed(&self, e: &RedisError) -> Error {
        let detail = e.detail().unwrap_or_default();
        let text = match (e.kind(), e.code().unwrap_or_default()) {
            (_, "SEMEMECODEC") => format!(
                "the namespace now holds IDs of codec {detail}: it was emptied or filled anew while it was in use; nothing of this \
                 batch was kept"
            ),
            (_, "SEMEMEFULL") => format!(
                "item {detail} of the batch is on codes that have given out all of their {} counters",
                1u64 << 32
            ),
            (_, "SEMEMEFOREIGN" | "WRONGTYPE") => {
                "the namespace holds another program's keys; choose another one with `?namespace=NAME`".to_owned()
            }
            // Commands with many arguments are refused with another text before a password was given.
            (ErrorKind::AuthenticationFailed, _) | (_, "NOAUTH" | "WRONGPASS" | "NOPERM") => {
                format!("{e}; give user and password as in redis://user:password@host")
            }
            _ if detail.contains("unauthenticated") => {
                format!("{e}; give user and password as in redis://user:password@host")
            }
            (ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot), _) => {
                format!("{e}; of a cluster give the node that holds the namespace")
            }
            (_, "OOM") => format!("{e}; nothing of this batch was kept, give the server more memory and run again"),
            (_, "MISCONF") => {
                format!("{e}; nothing of this batch was kept, make room on the server's disk and run again")
            }
            _ => e.to_string(),
        };
        Error::Store(format!("`{}`: {text}", self.shown))
    }
}

/// Whether an error passes by itself: the server is away, starts, is busy, or another one takes over.
fn passes(e: &RedisError) -> bool {
    use ServerErrorKind as Kind;
    let server = matches!(
        e.kind(),
        ErrorKind::Server(Kind::BusyLoading | Kind::TryAgain | Kind::MasterDown | Kind::ClusterDown | Kind::ReadOnly)
    );
    server || e.is_io_error() || e.is_connection_dropped() || matches!(e.code(), Some("BUSY" | "NOREPLICAS"))
}
