//! Trainings whose rows are spread.

use crate::cluster::{Cluster, kills, succeeded};
use crate::support::{Kept, block, content, error, expected, keys, rows, session, text, write_items};
use sememe::distributed::DistributedRqKMeans;
use sememe::{Balance, Codec, Device, Error, Matrix, Metric, Observer, RqKMeans};
use sememe_cluster::jobs::{Fit, Items, encode, fit};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const N: usize = 4000;

fn settings() -> RqKMeans {
    RqKMeans { codebook_sizes: vec![16, 8], iterations: 8, seed: 5, ..RqKMeans::default() }
}

fn job(folder: &Path, kmeans: RqKMeans, output: &str) -> Fit {
    Fit {
        items: Items { places: vec![text(&folder.join("items"))], column: None, key: Some("item".into()) },
        settings: DistributedRqKMeans { kmeans, sample_rows: None },
        output: text(&folder.join(output)),
        checkpoint: None,
        resume: false,
        work: None,
    }
}

fn run(job: &Fit, partitions: usize) -> sememe::Result<Codec> {
    block(async { fit(&session(partitions).await, job, &()).await })?;
    Codec::load(&job.output)
}

/// 1 − squared L2 to the decoded rows over that to the mean row.
fn r2(codec: &Codec, rows: &Matrix) -> f64 {
    let back = codec.decode(&codec.encode(rows).expect("encoded")).expect("decoded");
    let (n, d) = (rows.rows(), rows.dims());
    let mean: Vec<f64> = (0..d).map(|c| (0..n).map(|i| f64::from(rows.row(i)[c])).sum::<f64>() / n as f64).collect();
    let (mut error, mut spread) = (0.0, 0.0);
    for i in 0..n {
        for ((x, back), mean) in rows.row(i).iter().zip(back.row(i)).zip(&mean) {
            error += f64::from(x - back).powi(2);
            spread += (f64::from(*x) - mean).powi(2);
        }
    }
    1.0 - error / spread
}

#[test]
fn one_seed_gives_the_same_bytes_at_any_number_of_partitions_and_as_good_a_codec_as_on_one_machine() {
    let folder = tempfile::tempdir().expect("folder");
    let (rows, keys) = (rows(N, 1), keys(N));
    write_items(&folder.path().join("items"), &rows, &keys, 3, Kept::Fixed32);
    let plain = settings();
    let cosine = RqKMeans { metric: Metric::Cosine, ..settings() };
    let even = RqKMeans { balance: Some(Balance::sinkhorn()), ..settings() };
    let normalised = RqKMeans { normalize_residuals: true, ..settings() };
    let mut components = settings();
    components.preprocess.pca = Some(sememe::Pca { keep_variance: 1.0, max_dims: 8 });
    for (name, config) in
        [("plain", plain), ("cosine", cosine), ("even", even), ("normalised", normalised), ("components", components)]
    {
        let job = job(folder.path(), config.clone(), "codec.safetensors");
        let one = run(&job, 1).unwrap_or_else(|e| panic!("{name}: {e}"));
        for partitions in [3, 8] {
            let other = run(&job, partitions).expect("trained");
            assert_eq!(other.content_hash(), one.content_hash(), "{name}: {partitions} partitions");
        }
        let alone = Codec::train(&rows, &config, &Device::cpu(), &()).expect("trained");
        let (spread, local) = (r2(&one, &rows), r2(&alone, &rows));
        assert!(spread > local - 0.02, "{name}: R² {spread} over partitions, {local} alone");
        assert!(content(folder.path()).keys().all(|file| file == "codec.safetensors"), "{name}: rounds are left");
        let out = text(&folder.path().join("out"));
        let work = sememe_cluster::jobs::Encode { items: job.items.clone(), codec: job.output.clone(), output: out };
        block(async { encode(&session(2).await, &work, &()).await }).expect("encoded");
        assert_eq!(crate::support::codes_by_key(&folder.path().join("out"), "item"), expected(&one, &rows, &keys));
        std::fs::remove_dir_all(folder.path().join("out")).expect("removed");
    }
    let seeded = run(&job(folder.path(), RqKMeans { seed: 6, ..settings() }, "codec.safetensors"), 2).expect("trained");
    let first = run(&job(folder.path(), settings(), "codec.safetensors"), 2).expect("trained");
    assert_ne!(seeded.content_hash(), first.content_hash());
}

/// Asks for a stop after so many passes.
struct StopAfter(AtomicUsize);

impl Observer for StopAfter {
    fn event(&self, event: sememe::Event<'_>) {
        if let sememe::Event::Phase { name: "round", .. } = event {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    fn stop(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn a_training_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().expect("folder");
    let rows = rows(N, 2);
    write_items(&folder.path().join("items"), &rows, &keys(N), 2, Kept::List64);
    let whole = run(&job(folder.path(), settings(), "whole.safetensors"), 2).expect("trained");
    let state = text(&folder.path().join("state"));
    let kept = Fit { checkpoint: Some(state), resume: true, ..job(folder.path(), settings(), "codec.safetensors") };
    let stopped = block(async { fit(&session(2).await, &kept, &StopAfter(AtomicUsize::new(5))).await });
    assert!(matches!(stopped, Err(Error::Interrupted(_))), "{stopped:?}");
    assert!(!folder.path().join("codec.safetensors").exists());
    let all = block(async { fit(&session(2).await, &job(folder.path(), settings(), "w.safetensors"), &()).await });
    let rest = block(async { fit(&session(3).await, &kept, &()).await }).expect("trained");
    assert_eq!(rest.codec, whole.content_hash());
    assert_eq!(rest.rounds + 4, all.expect("trained").rounds, "passes that were done are done again");

    let other = Fit {
        settings: DistributedRqKMeans { kmeans: RqKMeans { seed: 9, ..settings() }, sample_rows: None },
        ..kept.clone()
    };
    let said = error(run(&other, 2));
    assert!(said.contains("is of a training with other settings"), "{said}");
    std::fs::write(folder.path().join("state"), "nonsense").expect("written");
    error(run(&kept, 2));
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let rows = rows(300, 3);
    write_items(&folder.path().join("items"), &rows, &keys(300), 1, Kept::Fixed32);
    let exact = RqKMeans { balance: Some(Balance::capacity()), ..settings() };
    error(run(&job(folder.path(), exact, "codec.safetensors"), 1));
    let many = RqKMeans { codebook_sizes: vec![1000], ..settings() };
    let said = error(run(&job(folder.path(), many, "codec.safetensors"), 1));
    assert!(said.contains("300"), "{said}");
    let mut values = rows.as_slice().to_vec();
    values[crate::support::DIMS * 250] = f32::INFINITY;
    let bad = Matrix::from_vec(300, crate::support::DIMS, values).expect("shape");
    write_items(&folder.path().join("items"), &bad, &keys(300), 1, Kept::Fixed32);
    let said = error(run(&job(folder.path(), settings(), "codec.safetensors"), 1));
    assert!(said.contains(&keys(300)[250]) && said.contains("row 250 of its partition"), "{said}");
    assert_eq!(content(folder.path()).len(), 0, "something is left");
}

#[test]
fn a_cluster_trains_the_same_bytes_with_and_without_killed_executors() {
    let folder = tempfile::tempdir().expect("folder");
    let n = 60_000;
    let rows = rows(n, 4);
    let items = folder.path().join("items");
    write_items(&items, &rows, &keys(n), 4, Kept::Fixed32);
    let local = run(&job(folder.path(), settings(), "local.safetensors"), 2).expect("trained");
    let mut cluster = Cluster::start(folder.path());
    let (items, output) = (text(&items), text(&folder.path().join("codec.safetensors")));
    let train = ["fit", &items, "-o", &output, "--codebook-size", "16,8", "--iterations", "8", "--seed", "5"];
    let begun = Instant::now();
    for partitions in ["1", "8"] {
        let report = succeeded(&cluster.run(&[&train[..], &["--partitions", partitions]].concat()), &cluster);
        assert_eq!(report["codec"], local.content_hash(), "{partitions} partitions");
    }
    let seconds = begun.elapsed().as_secs_f64() / 2.0;
    let mut random = sememe::rng::stream(4, "kills", 0);
    for kill in 0..kills() {
        let running = cluster.begin(&[&train[..], &["--partitions", "8"]].concat());
        std::thread::sleep(Duration::from_secs_f64(seconds * (0.1 + 0.8 * random.uniform())));
        cluster.kill(random.below(2) as usize);
        let output = running.wait_with_output().expect("output");
        let report = succeeded(&output, &cluster);
        assert_eq!(report["codec"], local.content_hash(), "kill {kill}");
    }
}
