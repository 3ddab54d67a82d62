//! Files by their place: a path of this machine, or `s3://bucket/key` and whatever speaks its protocol.

use crate::failure::from_store;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreRegistry;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use sememe::{Error, Result};
use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use tokio::runtime::{Builder, Runtime};
use url::Url;

/// The stores of this process. Functions of a query are handed no session, so there is one for all.
#[derive(Debug, Default)]
pub struct Storage {
    settings: Vec<(String, String)>,
    stores: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

static SHARED: OnceLock<Arc<Storage>> = OnceLock::new();

/// Settings of object stores for this process, as `AWS_ENDPOINT`, `AWS_REGION`, `AWS_ACCESS_KEY_ID` and the like in upper or lower case;
/// others are passed over. Once, before the first query.
///
/// # Errors
/// [`Error::Config`] once stores are in use.
pub fn configure_stores(settings: impl IntoIterator<Item = (String, String)>) -> Result<()> {
    let settings = settings.into_iter().filter(|(name, _)| name.to_ascii_lowercase().starts_with("aws_")).collect();
    let storage = Arc::new(Storage { settings, ..Storage::default() });
    SHARED.set(storage).map_err(|_| Error::config("stores", "are in use already; set them before the first query"))
}

/// The stores of this process, for work that waits without holding up a thread.
pub fn storage() -> Arc<Storage> {
    SHARED.get_or_init(Arc::default).clone()
}

/// The same stores for [`wait`], with connections of their own: a connection is served by the runtime that opened it, and the threads of that
/// one may all be waiting here.
pub fn waiting_storage() -> Arc<Storage> {
    static APART: OnceLock<Arc<Storage>> = OnceLock::new();
    let settings = || storage().settings.clone();
    APART.get_or_init(|| Arc::new(Storage { settings: settings(), ..Storage::default() })).clone()
}

/// Runs a future to its end and blocks the thread for it. On threads of its own, as functions of a query run on threads of a runtime, which
/// may not wait for themselves.
pub fn wait<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let built = Builder::new_multi_thread().worker_threads(2).thread_name("storage").enable_all().build();
        built.expect("the system gives two threads")
    });
    let (give, take) = mpsc::channel();
    runtime.spawn(async move { give.send(future.await) });
    take.recv().expect("storage does not panic")
}

/// A place of a file or a folder, resolved.
#[derive(Clone, Debug)]
pub struct Place {
    pub store: Arc<dyn ObjectStore>,
    pub path: StorePath,
    /// The absolute place, as the engine and other machines read it.
    pub url: Url,
    /// The path on this machine, for places that are none of a store.
    pub local: Option<PathBuf>,
    /// As it was given.
    pub name: String,
}

impl Storage {
    /// Where something lies.
    ///
    /// # Errors
    /// [`Error::Config`] for a scheme that is not known, or a store whose settings do not do.
    pub fn place(&self, name: &str) -> Result<Place> {
        let wrong = |problem: String| Error::config("place", format!("`{name}`: {problem}"));
        let url = if name.contains("://") {
            Url::parse(name).map_err(|e| wrong(e.to_string()))?
        } else {
            let path = std::path::absolute(name).map_err(|e| Error::io("find", name, e))?;
            Url::from_file_path(&path).map_err(|()| wrong("is no path".into()))?
        };
        let store = self.store(&url).map_err(|e| wrong(e.to_string()))?;
        let local = if url.scheme() == "file" { url.to_file_path().ok() } else { None };
        let path = match &local {
            Some(path) => StorePath::from_absolute_path(path),
            None => StorePath::from_url_path(url.path()),
        };
        Ok(Place { store, path: path.map_err(|e| wrong(e.to_string()))?, url, local, name: name.to_owned() })
    }

    fn store(&self, url: &Url) -> object_store::Result<Arc<dyn ObjectStore>> {
        let key = key(url);
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&key) {
            return Ok(store.clone());
        }
        let store: Arc<dyn ObjectStore> = match url.scheme() {
            "file" => Arc::new(LocalFileSystem::new()),
            "s3" | "s3a" => {
                let mut builder = AmazonS3Builder::new().with_url(url.as_str());
                for (name, value) in &self.settings {
                    // What it does not know is another program's.
                    if let Ok(setting) = name.to_ascii_lowercase().parse() {
                        builder = builder.with_config(setting, value);
                    }
                }
                Arc::new(builder.build()?)
            }
            other => {
                let source = format!("places are paths, file:// and s3://, got {other}://").into();
                return Err(object_store::Error::Generic { store: "any", source });
            }
        };
        stores.insert(key, store.clone());
        Ok(store)
    }
}

fn key(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.authority())
}

impl ObjectStoreRegistry for Storage {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).insert(key(url), store)
    }

    fn get_store(&self, url: &Url) -> datafusion::error::Result<Arc<dyn ObjectStore>> {
        self.store(url).map_err(|e| DataFusionError::External(Box::new(e)))
    }
}

impl Place {
    /// A place inside this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{name}", self.url.path().trim_end_matches('/')));
        Self {
            store: self.store.clone(),
            path: StorePath::from_iter(self.path.parts().chain(StorePath::from(name).parts())),
            url,
            local: self.local.as_ref().map(|path| path.join(name)),
            name: format!("{}/{name}", self.name.trim_end_matches('/')),
        }
    }

    /// All bytes.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be read or is larger than `cap_bytes`.
    pub async fn read(&self, cap_bytes: u64) -> Result<Vec<u8>> {
        self.read_if_there(cap_bytes).await?.ok_or_else(|| Error::Data(format!("there is no `{}`", self.name)))
    }

    /// As [`read`](Self::read); nothing if there is no such file.
    pub async fn read_if_there(&self, cap_bytes: u64) -> Result<Option<Vec<u8>>> {
        let failed = |e: object_store::Error| from_store("read", &self.name, &e);
        let found = match self.store.get(&self.path).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(failed)?,
        };
        if found.meta.size > cap_bytes {
            let size = found.meta.size;
            return Err(Error::Data(format!("`{}` has {size} bytes, at most {cap_bytes} are read", self.name)));
        }
        Ok(Some(found.bytes().await.map_err(failed)?.to_vec()))
    }

    /// Writes all bytes, whole or not at all, in the place of what is there.
    pub async fn write(&self, bytes: Vec<u8>) -> Result<()> {
        if let Some(path) = &self.local {
            if let Some(folder) = path.parent() {
                sememe::io::create_folder(folder)?;
            }
            return sememe::io::write_bytes_atomic(path, &bytes);
        }
        let put = self.store.put(&self.path, bytes.into()).await;
        put.map(|_| ()).map_err(|e| from_store("write", &self.name, &e))
    }

    /// Writes all bytes, whole or not at all; `false` if there is something already.
    pub async fn write_new(&self, bytes: Vec<u8>) -> Result<bool> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&self.path, bytes.into(), options).await {
            Err(object_store::Error::AlreadyExists { .. }) => return Ok(false),
            done => done.map_err(|e| from_store("write", &self.name, &e))?,
        };
        if let Some(path) = &self.local {
            last(path)?;
        }
        Ok(true)
    }

    /// Removes it, if it is there.
    pub async fn remove(&self) -> Result<()> {
        match self.store.delete(&self.path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(from_store("remove", &self.name, &e)),
        }
    }

    /// Names of the files in it, those of folders inside as `folder/name`, in order.
    pub async fn list(&self) -> Result<Vec<String>> {
        let found: Vec<_> = match self.store.list(Some(&self.path)).try_collect().await {
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            found => found.map_err(|e| from_store("list", &self.name, &e))?,
        };
        let inside = |meta: &object_store::ObjectMeta| {
            let parts: Vec<_> = meta.location.prefix_match(&self.path)?.map(|part| part.as_ref().to_owned()).collect();
            (!parts.is_empty()).then(|| parts.join("/"))
        };
        let mut names: Vec<String> = found.iter().filter_map(inside).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Whether it is a file, rather than a folder or nothing.
    pub async fn is_file(&self) -> Result<bool> {
        match self.store.head(&self.path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            // A folder of this machine.
            Err(_) if self.local.as_ref().is_some_and(|path| path.is_dir()) => Ok(false),
            Err(e) => Err(from_store("look for", &self.name, &e)),
        }
    }

    /// Whether there is at least one file in it.
    pub async fn holds_files(&self) -> Result<bool> {
        match self.store.list(Some(&self.path)).next().await {
            None | Some(Err(object_store::Error::NotFound { .. })) => Ok(false),
            Some(found) => found.map(|_| true).map_err(|e| from_store("list", &self.name, &e)),
        }
    }
}

/// Makes a file and its name last.
pub fn last(path: &std::path::Path) -> Result<()> {
    let sync = |path: &std::path::Path| std::fs::File::open(path).and_then(|file| file.sync_all());
    sync(path).map_err(|e| Error::io("sync", path, e))?;
    match path.parent() {
        Some(folder) if cfg!(unix) => sync(folder).map_err(|e| Error::io("sync the folder of", path, e)),
        _ => Ok(()),
    }
}
