//! Files of codecs with networks: every bit kept, every lie refused, old and golden files still read.

use crate::codec::clustered;
use crate::network_codec::{Spec, codec, fitted};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sememe::compute::tensor::Activation;
use sememe::fit::NetworkSummary;
use sememe::{Codec, Matrix};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// A small codec with everything in it: two networks, layer norms, skip, preprocessing, a shared codebook, facts of training.
fn small() -> Codec {
    let spec = Spec {
        shared: true,
        norm: true,
        skip: true,
        preprocess: true,
        activation: Activation::Gelu,
        ..Spec::new(&[6, 5, 6], &[8, 8])
    };
    let mut fitted = fitted(&spec, &clustered(260, 6, 5, 77));
    fitted.probes = Matrix::from_vec(3, 6, fitted.probes.as_slice()[..18].to_vec()).unwrap();
    fitted.summary.network = Some(NetworkSummary { epochs: 4, steps: 99, best_epoch: 3, parameters: 190 });
    codec(&fitted)
}

#[test]
fn a_file_with_networks_keeps_every_bit() {
    let rows = clustered(260, 6, 5, 77);
    let codec = small();
    let bytes = codec.to_bytes().unwrap();
    let again = Codec::from_bytes(&bytes).unwrap();
    assert_eq!(again.quantizer(), codec.quantizer());
    assert_eq!(again.manifest(), codec.manifest());
    assert_eq!(again.to_bytes().unwrap(), bytes);
    assert_eq!(again.encode(&rows).unwrap(), codec.encode(&rows).unwrap());
    let codes = codec.encode(&rows).unwrap();
    assert_eq!(again.decode(&codes).unwrap(), codec.decode(&codes).unwrap());
    assert_eq!(codec.manifest().format_version, 2);
    let names: Vec<String> = SafeTensors::deserialize(&bytes).unwrap().names().into_iter().map(String::from).collect();
    assert!(names.contains(&"codebook.shared".into()) && !names.iter().any(|n| n == "codebook.0"), "{names:?}");
    assert!(names.contains(&"encoder.0.norm.gain".into()) && names.contains(&"probe.rows".into()), "{names:?}");
}

#[test]
fn every_damaged_byte_of_a_file_with_networks_is_noticed() {
    let bytes = small().to_bytes().unwrap();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x11;
        if let Ok(found) = Codec::from_bytes(&bad) {
            assert_eq!(found.to_bytes().unwrap(), bytes, "byte {at} changed the codec unnoticed");
        }
    }
    for length in (0..bytes.len()).step_by(3) {
        assert!(Codec::from_bytes(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
}

/// A plain codec must not change for the sake of those with networks: older releases read version 1.
#[test]
fn a_codec_without_networks_is_written_as_version_1() {
    let rows = clustered(60, 4, 4, 8);
    let config = sememe::RqKMeans { codebook_sizes: vec![4, 2], ..sememe::RqKMeans::default() };
    let codec = Codec::train(&rows, &config, &sememe::Device::cpu(), &()).unwrap();
    assert_eq!(codec.manifest().format_version, 1);
    let text = serde_json::to_string(codec.manifest()).unwrap();
    for word in ["encoder", "decoder", "shared_codebook", "network"] {
        assert!(!text.contains(&format!("\"{word}\"")), "{word} in {text}");
    }
    let golden = std::fs::read(fixture("codec-v1.safetensors")).unwrap();
    assert_eq!(Codec::from_bytes(&golden).unwrap().to_bytes().unwrap(), golden);
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// A codec's file after an edit, with the hash that belongs to it: lies that only the checks behind the hash can find.
fn forged(edit: impl FnOnce(&mut Value, &mut Tensors)) -> Vec<u8> {
    forged_of(&small(), edit)
}

fn forged_of(codec: &Codec, edit: impl FnOnce(&mut Value, &mut Tensors)) -> Vec<u8> {
    let bytes = codec.to_bytes().unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut manifest: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["sememe"]).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Tensors =
        file.tensors().into_iter().map(|(n, v)| (n, (v.shape().to_vec(), v.data().to_vec()))).collect();
    edit(&mut manifest, &mut tensors);
    manifest["content_hash"] = json!("");
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(manifest.to_string().as_bytes());
    for (name, (shape, bytes)) in &tensors {
        part(name.as_bytes());
        part(format!("{shape:?}").as_bytes());
        part(bytes);
    }
    let hash: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    manifest["content_hash"] = json!(hash);
    let views: Vec<(&String, TensorView<'_>)> =
        tensors.iter().map(|(n, (s, b))| (n, TensorView::new(Dtype::F32, s.clone(), b).unwrap())).collect();
    safetensors::serialize(views, Some(HashMap::from([("sememe".to_owned(), manifest.to_string())]))).unwrap()
}

fn values(tensors: &mut Tensors, name: &str, shape: &[usize], value: f32) {
    let bytes = value.to_le_bytes().repeat(shape.iter().product());
    tensors.insert(name.into(), (shape.to_vec(), bytes));
}

#[test]
fn files_that_lie_about_networks_are_refused() {
    let sound = forged(|_, _| {});
    assert_eq!(Codec::from_bytes(&sound).unwrap().quantizer(), small().quantizer());
    let refused = |edit: &dyn Fn(&mut Value, &mut Tensors), part: &str| {
        let error = Codec::from_bytes(&forged(edit)).unwrap_err().to_string();
        assert!(error.contains(part), "expected `{part}`: {error}");
    };
    for name in ["encoder.0.weight", "encoder.1.bias", "decoder.0.norm.gain", "decoder.0.norm.bias", "codebook.shared"]
    {
        refused(&|_, t| _ = t.remove(name), &format!("`{name}` is missing"));
    }
    refused(&|_, t| _ = t.remove("probe.rows"), "an encoder needs 1 to 64 rows");
    refused(&|_, t| values(t, "encoder.0.weight", &[5, 7], 1.0), "expected inputs = 6, got 7 in `encoder.0.weight`");
    refused(&|_, t| values(t, "encoder.0.weight", &[6, 5], 1.0), "expected outputs = 5, got 6 in `encoder.0.weight`");
    refused(&|_, t| values(t, "encoder.0.weight", &[30], 1.0), "expected axes = 2, got 1 in `encoder.0.weight`");
    refused(&|_, t| values(t, "decoder.1.bias", &[5], 1.0), "got 5 in `decoder.1.bias`");
    refused(&|_, t| values(t, "encoder.0.weight", &[5, 6], f32::NAN), "`encoder.0.weight` holds NaN");
    refused(&|_, t| values(t, "decoder.0.norm.gain", &[5], f32::INFINITY), "`decoder.0.norm.gain` holds inf");
    refused(&|_, t| values(t, "probe.rows", &[2, 6], f32::NAN), "`probe.rows` holds NaN");
    refused(&|_, t| values(t, "probe.rows", &[65, 6], 1.0), "got 65");
    refused(&|_, t| values(t, "probe.rows", &[2, 5], 1.0), "expected d = 6, got 5 in `probe.rows`");
    refused(&|_, t| values(t, "encoder.2.weight", &[2, 5], 1.0), "`encoder.2.weight` is nothing");
    refused(&|_, t| values(t, "codebook.0", &[8, 6], 1.0), "`codebook.0` is nothing");
    refused(&|_, t| values(t, "codebook.shared", &[8, 5], 1.0), "expected d = 6, got 5");
    // Sizes that do not chain, with tensors to match: the skip connection and the codebook notice.
    refused(
        &|m, t| {
            m["encoder"]["layers"][1]["outputs"] = json!(4);
            values(t, "encoder.1.weight", &[4, 5], 1.0);
            values(t, "encoder.1.bias", &[4], 1.0);
        },
        "got 4",
    );
    refused(&|m, _| m["encoder"]["layers"][0]["outputs"] = json!(4), "expected outputs = 4, got 5");
    refused(
        &|m, t| {
            m["encoder"]["inputs"] = json!(7);
            values(t, "encoder.0.weight", &[5, 7], 1.0);
        },
        "in `encoder",
    );
    refused(&|m, _| m["decoder"]["layers"] = json!([]), "expected 1 to 64 layers in `decoder`, got 0");
    refused(&|m, _| m["decoder"]["layers"] = json!(vec![json!({"outputs": 6}); 65]), "got 65");
    refused(&|m, _| m["decoder"]["layers"][0]["outputs"] = json!(1u64 << 40), "expected layers of 1 to 1048576 values");
    refused(&|m, _| m["decoder"]["inputs"] = json!(0), "expected layers of 1 to 1048576 values");
    refused(&|m, _| m["decoder"]["layers"][0]["outputs"] = json!(-1), "bad manifest");
    refused(&|m, _| m["decoder"]["layers"][0]["activation"] = json!("tanh"), "bad manifest");
    refused(&|m, _| _ = m.as_object_mut().unwrap().remove("decoder"), "`decoder.0.bias` is nothing");
    refused(&|m, _| _ = m.as_object_mut().unwrap().remove("encoder"), "`encoder.0.bias` is nothing");
    refused(&|m, _| m["codebook_sizes"] = json!([8, 4]), "level 1 has 4 codewords, the shared codebook 8");
    refused(&|m, _| m["codebook_sizes"] = json!(vec![8; 65]), "expected 1 to 64 levels of a shared codebook, got 65");
    refused(&|m, _| m["shared_codebook"] = json!(false), "`codebook.0` is missing");
    refused(&|m, _| m["format_version"] = json!(1), "format version 1 has neither networks");
    refused(&|m, _| m["format_version"] = json!(5), "format version 5 is not one this release reads (1 to 4)");
}

/// What a newer release wrote and this one does not know is kept to the byte, or whoever would drop it is refused.
#[test]
fn what_a_newer_release_says_is_kept_or_refused() {
    let old = small();
    let rows = clustered(60, 6, 5, 77);
    let same: Vec<Vec<u32>> = old.codebook_sizes().iter().map(|k| (0..*k as u32).collect()).collect();
    assert!(old.permute(&same, None).is_ok());
    let folder = tempfile::tempdir().unwrap();
    for (edit, field) in [
        (&(|m: &mut Value| m["license"] = json!("MIT")) as &dyn Fn(&mut Value), "license"),
        (&|m: &mut Value| m["training"]["watts"] = json!(7.25), "training.watts"),
        (&|m: &mut Value| m["training"]["network"]["cards"] = json!([1]), "training.network.cards"),
        (&|m: &mut Value| m["encoder"]["layers"][1]["bits"] = json!(4), "encoder.layers.1.bits"),
    ] {
        let bytes = forged(|m, _| edit(m));
        let codec = Codec::from_bytes(&bytes).unwrap();
        assert_ne!(codec.content_hash(), old.content_hash(), "{field}");
        assert_eq!(codec.encode(&rows).unwrap(), old.encode(&rows).unwrap());
        // Saved again it is the same file, which loads.
        let path = folder.path().join("again.safetensors");
        codec.save(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{field}");
        assert_eq!(Codec::load(&path).unwrap().content_hash(), codec.content_hash());
        // Another codec made of it would say what may not be true of it, or no longer say it.
        let error = codec.permute(&same, None).unwrap_err().to_string();
        assert!(error.contains(&format!("a field `{field}`")), "{error}");
    }
    // Fields that say nothing are no news.
    let quiet = forged(|m, _| m["news"] = Value::Null);
    assert!(Codec::from_bytes(&quiet).unwrap().permute(&same, None).is_ok());
    // A metadata key of its own would be lost.
    let (bytes, file) = (old.to_bytes().unwrap(), forged(|_, _| {}));
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let text = header.metadata().as_ref().unwrap()["sememe"].clone();
    let keys = HashMap::from([("sememe".to_owned(), text), ("signature".to_owned(), "x".to_owned())]);
    let tensors = SafeTensors::deserialize(&file).unwrap().tensors();
    let error = Codec::from_bytes(&safetensors::serialize(tensors, Some(keys)).unwrap()).unwrap_err().to_string();
    assert!(error.contains("a key `signature`"), "{error}");
}

/// Files of some megabytes whose sizes multiply to more than any machine has.
#[test]
fn sizes_that_multiply_are_bounded_before_memory_is_taken() {
    let codec = |sizes: &[usize], beam: usize| {
        let rows = clustered(60, 1, 4, 8);
        let config = sememe::RqKMeans { codebook_sizes: vec![2; sizes.len()], ..sememe::RqKMeans::default() };
        let small = Codec::train(&rows, &config, &sememe::Device::cpu(), &()).unwrap();
        let bytes = forged_of(&small, |m, t| {
            m["codebook_sizes"] = json!(sizes);
            m["beam"] = json!(beam);
            for (level, k) in sizes.iter().enumerate() {
                values(t, &format!("codebook.{level}"), &[*k, 1], 0.5);
            }
        });
        Codec::from_bytes(&bytes).unwrap()
    };
    let row = Matrix::from_vec(1, 1, vec![0.4]).unwrap();
    // 4 MB whose beam would need 2 TB of products.
    let wide = codec(&[500_000, 500_000], 2);
    for (error, beam) in [
        (wide.encode(&row).unwrap_err(), 2),
        (wide.encode_row(&[0.4]).unwrap_err(), 2),
        (wide.encode_reference(&row, 64).unwrap_err(), 64),
    ] {
        let text = error.to_string();
        assert!(matches!(error, sememe::Error::Config { .. }), "{text}");
        for part in [&*format!("a beam of {beam} over"), "250000000000 products", "at most 268435456", "use 1"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    // The way out that the message names is one.
    let greedy = sememe::EncodeOptions { beam: Some(1), ..sememe::EncodeOptions::default() };
    let encoder = wide.encoder(&sememe::Device::cpu(), &greedy).unwrap();
    assert_eq!(encoder.encode(&row).unwrap().codes.row(0), [0, 0]);
    // Few products, but dot products with a block of rows for each thread.
    assert!(codec(&[1, 300_000], 2).encode(&row).unwrap_err().to_string().contains("300001 codewords"));
    assert!(codec(&[64, 300], 2).encode(&row).is_ok());

    // A shared codebook is in the file once and in memory once a level.
    let shared = forged(|m, t| {
        m["codebook_sizes"] = json!(vec![600_000; 64]);
        values(t, "codebook.shared", &[600_000, 6], 0.5);
    });
    let error = Codec::from_bytes(&shared).unwrap_err().to_string();
    assert!(error.contains("64 levels of the shared codebook need 1536000000 bytes, at most 1073741824"), "{error}");
    let error = Codec::from_bytes(&forged(|m, _| m["inner_dims"] = json!(1u64 << 40))).unwrap_err().to_string();
    assert!(error.contains("inner_dims"), "{error}");
}

fn fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn codes_text(codec: &Codec) -> String {
    let codes = codec.encode(&clustered(20, 6, 5, 77)).unwrap();
    codes.iter().map(|r| format!("{}-{}\n", r[0], r[1])).collect()
}

/// The first file of version 2: whatever comes later must read it and give these codes. `SEMEME_WRITE_FIXTURES=1` wrote it.
#[test]
fn the_golden_codec_with_networks_stays_readable() {
    let (file, codes) = (fixture("codec-v2.safetensors"), fixture("codec-v2.codes.txt"));
    if std::env::var("SEMEME_WRITE_FIXTURES").is_ok() && !file.exists() {
        small().save(&file).unwrap();
        std::fs::write(&codes, codes_text(&small())).unwrap();
    }
    let codec = Codec::load(&file).unwrap();
    assert_eq!(codec.quantizer(), small().quantizer());
    assert_eq!(codec.to_bytes().unwrap(), std::fs::read(&file).unwrap());
    let expected = std::fs::read_to_string(codes).unwrap();
    assert_eq!(codes_text(&codec), expected);
    assert!(expected.lines().collect::<std::collections::HashSet<_>>().len() > 3, "the golden codes tell rows apart");
}
