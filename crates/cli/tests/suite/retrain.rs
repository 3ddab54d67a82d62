//! Codecs that are trained again, compared and renamed, by the program.

use crate::cli::Desk;
use std::fs;

#[test]
fn a_codec_is_trained_again_compared_and_renamed() {
    let desk = Desk::fitted();
    desk.items("more.npy", 400);
    desk.run("train more.npy -o scratch.safetensors --codebook-size 8 --seed 5").ok();
    desk.run("train more.npy -o warm.safetensors --from codec.safetensors").ok();
    desk.run("align scratch.safetensors codec.safetensors items.npy -o aligned.safetensors").ok();
    let share = |name: &str| {
        let value = desk.run(&format!("churn codec.safetensors {name} items.npy --json")).json();
        assert_eq!((value["rows"].as_u64(), value["levels"].as_array().map(Vec::len)), (Some(300), Some(3)));
        value["changed"].as_f64().expect("a share")
    };
    let [scratch, aligned, warm] = ["scratch.safetensors", "aligned.safetensors", "warm.safetensors"].map(share);
    assert!(scratch > aligned && aligned > warm, "{scratch} {aligned} {warm}");
    let value = desk.run("align scratch.safetensors codec.safetensors items.npy -o again.safetensors --json").json();
    assert_eq!(value["churn_after"]["changed_ids"].as_u64(), Some((aligned * 300.0).round() as u64));
    assert_eq!(value["churn_before"]["changed_ids"].as_u64(), Some((scratch * 300.0).round() as u64));
    assert_eq!(value["permutations"].as_array().map(Vec::len), Some(3));
    assert_eq!(fs::read(desk.path("again.safetensors")).unwrap(), fs::read(desk.path("aligned.safetensors")).unwrap());
    let blind = desk.run("align scratch.safetensors codec.safetensors -o blind.safetensors").ok();
    assert!(blind.stderr.contains("matched without rows"), "{}", blind.stderr);
    let dry = desk.run("train more.npy -o x.safetensors --from codec.safetensors --dry-run").ok();
    assert!(dry.stdout.contains("preprocessing and codebooks of codec.safetensors"), "{}", dry.stdout);
    assert!(dry.stdout.contains("8 × 8 × 8"), "{}", dry.stdout);

    // Files of codes, matched by row number.
    desk.file("a.csv", b"row,code_0,code_1\n0,1,2\n1,3,4\n7,5,6\n");
    desk.file("b.csv", b"row,code_0,code_1\n7,5,6\n0,1,9\n8,0,0\n");
    let run = desk.run("churn --codes a.csv b.csv").ok();
    assert!(run.stdout.starts_with("1 of 2 IDs changed (50.0 %)\n"), "{}", run.stdout);
    assert!(run.stderr.contains("1 are in the first only, 1 in the second only"), "{}", run.stderr);
}

#[test]
fn what_cannot_be_compared_or_renamed_is_refused() {
    let desk = Desk::fitted();
    desk.refuses("churn codec.safetensors", 2, &["`churn` takes OLD NEW IN, or `--codes OLD NEW`"]);
    desk.refuses("churn --codes b.csv c.csv --array x", 2, &["`--array` goes with rows"]);
    desk.refuses(
        "align codec.safetensors codec.safetensors -o x.safetensors --on-bad drop",
        2,
        &["`--on-bad` goes with rows"],
    );
    desk.refuses("churn a b c --codes a.csv b.csv", 2, &["cannot be used with"]);
    desk.file("a.npy", b"x").file("b.csv", b"row,code_0\n0,1\n").file("c.csv", b"row,code_0\n5,1\n");
    desk.refuses("churn --codes a.npy b.csv", 3, &["a.npy"]);
    desk.refuses("churn --codes b.csv c.csv", 3, &["0 rows"]);
    desk.refuses("align codec.safetensors codec.safetensors items.npy -o codec.safetensors", 2, &["is an input too"]);
    desk.refuses("align codec.safetensors none.safetensors -o x.safetensors", 3, &["none.safetensors"]);
    let from = "train items.npy -o x.safetensors --from codec.safetensors";
    desk.refuses(&format!("{from} --center"), 2, &["`--center` is decided by the codec"]);
    desk.refuses(&format!("{from} --starts 2"), 2, &["`--starts`"]);
    desk.refuses(&format!("{from} --codebook-size 9"), 2, &["`--codebook-size`", "[8, 8, 8]"]);
    desk.refuses(
        &format!("{from} --method minibatch"),
        2,
        &["`--from`", "needs `--method kmeans`, `--method rqvae`, `--method pq` or `--method opq`"],
    );
    desk.refuses("train items.npy -o codec.safetensors --from codec.safetensors", 2, &["is an input too"]);
}
