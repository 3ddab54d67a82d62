//! What can be checked without any GPU: every kernel's text against the table, the uniforms, three shader languages,
//! and the house rules that a reader of the sources could check.

use naga::valid::{Capabilities, ValidationFlags, Validator};
use sememe::compute::gpu::kernel::{Access, KERNELS, Kernel, Needs};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a device that offers a kernel's needs lets its shaders do.
fn capabilities(needs: Needs) -> Capabilities {
    match needs {
        Needs::Core => Capabilities::empty(),
        Needs::Subgroup => Capabilities::SUBGROUP,
        Needs::F16 => Capabilities::SHADER_FLOAT16,
        Needs::Matrix => Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP | Capabilities::COOPERATIVE_MATRIX,
    }
}

fn name(kernel: &Kernel, variant: usize) -> String {
    format!("{} {} {:?}", kernel.stem, kernel.variants[variant].name, kernel.needs)
}

fn each(mut check: impl FnMut(&Kernel, usize, &naga::Module, &naga::valid::ModuleInfo)) {
    for kernel in KERNELS {
        for variant in 0..kernel.variants.len() {
            let name = name(kernel, variant);
            let text = kernel.text(variant);
            let module =
                naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
            let info = Validator::new(ValidationFlags::all(), capabilities(kernel.needs))
                .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
                .subgroup_operations(naga::valid::SubgroupOperationSet::all())
                .validate(&module)
                .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
            check(kernel, variant, &module, &info);
        }
    }
}

#[test]
fn every_variant_becomes_spirv_msl_and_hlsl() {
    use naga::back::{hlsl, msl, spv};
    // Subgroups and cooperative matrices came after SPIR-V 1.0.
    let spirv = spv::Options { lang_version: (1, 6), ..Default::default() };
    each(|kernel, variant, module, info| {
        let name = name(kernel, variant);
        let words = spv::write_vec(module, info, &spirv, None).unwrap_or_else(|e| panic!("{name}: SPIR-V: {e}"));
        assert!(words.len() > 100, "{name}");
        if kernel.needs == Needs::Matrix {
            // Metal has 8 × 8 matrices and Direct3D none: this variant is Vulkan's.
            return;
        }
        let metal = msl::Options { lang_version: (2, 4), ..Default::default() };
        let (text, _) = msl::write_string(module, info, &metal, &msl::PipelineOptions::default())
            .unwrap_or_else(|e| panic!("{name}: MSL: {e}"));
        assert!(text.contains("kernel void"), "{name}");
        let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..Default::default() };
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
            .write(module, info, None)
            .unwrap_or_else(|e| panic!("{name}: HLSL: {e}"));
        assert!(text.contains("numthreads"), "{name}");
    });
}

#[test]
fn entry_points_bindings_and_uniforms_agree_with_the_table() {
    each(|kernel, variant, module, info| {
        let name = name(kernel, variant);
        assert_eq!(module.entry_points.len(), kernel.entries.len(), "{name}");
        for (e, entry) in kernel.entries.iter().enumerate() {
            let place = module.entry_points.iter().position(|p| p.name == entry.name);
            let place = place.unwrap_or_else(|| panic!("{name}: no entry point `{}`", entry.name));
            let threads = kernel.threads(e, variant);
            assert_eq!(module.entry_points[place].workgroup_size, [threads, 1, 1], "{name}::{}", entry.name);
            assert!(threads <= 256, "{name}");
            let uses = info.get_entry_point(place);
            let mut found = Vec::new();
            let mut workgroup_bytes = 0;
            for (handle, global) in module.global_variables.iter() {
                if uses[handle].is_empty() {
                    continue;
                }
                match global.space {
                    naga::AddressSpace::Storage { access } => {
                        let written = access.contains(naga::StorageAccess::STORE);
                        let access = if written { Access::Write } else { Access::Read };
                        let binding = global.binding.as_ref().expect("storage has a binding");
                        assert_eq!(binding.group, 0, "{name}");
                        found.push((binding.binding, access));
                    }
                    naga::AddressSpace::WorkGroup => {
                        workgroup_bytes += module.types[global.ty].inner.size(module.to_ctx());
                    }
                    _ => {}
                }
            }
            found.sort_by_key(|(n, _)| *n);
            assert_eq!(found, entry.bindings, "{name}::{}", entry.name);
            assert!(found.len() <= 8, "{name}: more than the 8 storage buffers of the baseline");
            assert!(workgroup_bytes <= 16 << 10, "{name}: {workgroup_bytes} bytes of workgroup memory");
        }
        let (_, uniform) = module
            .global_variables
            .iter()
            .find(|(_, g)| g.space == naga::AddressSpace::Uniform)
            .unwrap_or_else(|| panic!("{name}: no uniform"));
        let naga::TypeInner::Struct { members, span } = &module.types[uniform.ty].inner else {
            panic!("{name}: the uniform is no struct")
        };
        let got: Vec<_> = members.iter().map(|m| (m.name.clone().unwrap_or_default(), m.offset)).collect();
        let want: Vec<_> = kernel.fields.iter().enumerate().map(|(i, f)| ((*f).to_owned(), 4 * i as u32)).collect();
        assert_eq!(got, want, "{name}");
        assert_eq!(*span as usize, 4 * kernel.fields.len(), "{name}");
    });
}

#[test]
fn tiles_are_consistent() {
    for kernel in KERNELS {
        for variant in kernel.variants {
            if variant.constants.iter().all(|(n, _)| *n != "BM") {
                continue;
            }
            let get = |n| variant.get(n);
            let lanes = get("BM") / 4 / get("RH") * (get("BN") / 4 / get("CH"));
            assert_eq!(lanes, get("THREADS"), "{} {}", kernel.stem, variant.name);
            // Rows are padded to 128, so every tile height must divide it; folds are 32 terms.
            assert_eq!((128 % get("BM"), 128 % get("BN"), 32 % get("BK")), (0, 0, 0), "{}", variant.name);
        }
    }
}

#[test]
fn every_shader_has_its_header_and_its_cpu_twin() {
    let shared = [
        "common",
        "tile",
        "top_two",
        "merge_lanes",
        "merge_subgroup",
        "split_lanes",
        "split_matrix",
        "split_finish",
        "log_sum",
        "matmul_fetch",
        "matmul_scalar",
        "matmul_vector",
        "nonlinear",
        "attention_tile",
        "attention_sum",
        "attention_grad",
    ];
    let mut stems = Vec::new();
    for path in files(&root().join("shaders"), "wgsl") {
        let stem = path.file_stem().expect("a file has a stem").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.lines().count() <= 150, "{stem}: {} lines", text.lines().count());
        if shared.contains(&stem.as_str()) {
            continue;
        }
        for line in ["Formula:", "Inputs:", "Outputs:", "Ties:", "Non-finite:", "Lanes:", "Source:"] {
            assert!(text.contains(&format!("// {line}")), "{stem}: the header does not say `{line}`");
        }
        assert!(text.starts_with(&format!("// {stem}: ")), "{stem}: the first line does not name it");
        let twin = KERNELS.iter().find(|k| k.stem == stem).map_or(stem.as_str(), |k| k.twin);
        let twin = root().join(format!("src/compute/cpu/{twin}.rs"));
        assert!(twin.is_file(), "{stem}: no twin at {}", twin.display());
        stems.push(stem);
    }
    stems.sort();
    let mut table: Vec<_> = KERNELS.iter().map(|k| k.stem.to_owned()).collect();
    table.sort();
    table.dedup();
    assert_eq!(stems, table);
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Whether `code` holds `word` where no longer name ends in it: `Operand::of` does not name `rand::`.
fn names(code: &str, word: &str) -> bool {
    let starts = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(word).any(|(at, _)| starts(at))
}

/// Files of `folder` whose code (comments and string-free lines aside) names `word`, less those under `allowed`.
fn offenders(folder: &str, words: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for path in files(&root().join(folder), "rs") {
        let relative = path.strip_prefix(root()).expect("under the root").to_string_lossy().replace('\\', "/");
        // Unit tests may use what the code beside them may not.
        if allowed.iter().any(|a| relative.starts_with(a)) || relative.contains("/tests/") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        for (i, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|w| names(code, w)) {
                found.push(format!("{relative}:{}: {}", i + 1, line.trim()));
            }
            if line.trim() == "#[cfg(test)]" {
                break;
            }
        }
    }
    found
}

#[test]
fn rule_1_wgpu_stays_in_its_room() {
    let none: Vec<String> = Vec::new();
    assert_eq!(offenders("src", &["wgpu::"], &["src/compute/gpu/"]), none);
    assert_eq!(offenders("crates", &["wgpu::"], &[]), none);
    let mut examples = offenders("examples", &["wgpu::"], &[]);
    examples.dedup_by_key(|line| line.split(':').next().unwrap_or_default().to_owned());
    assert!(examples.len() <= 1, "{examples:?}");
}

#[test]
fn rule_4_files_and_printing_stay_in_their_rooms() {
    let none: Vec<String> = Vec::new();
    assert_eq!(offenders("src", &["std::fs", "fs::File", "use std::{fs"], &["src/io/", "src/ids/store/"]), none);
    let printing = ["println!", "eprintln!", "print!(", "dbg!", "anyhow"];
    for library in
        ["src", "crates/text/src", "crates/recommend/src", "crates/import/src", "crates/run/src", "crates/serve/src"]
    {
        assert_eq!(offenders(library, &printing, &[]), none);
    }
    assert_eq!(offenders("crates/cluster/src", &printing, &["crates/cluster/src/bin/"]), none);
}

#[test]
fn rule_5_randomness_has_one_source() {
    let none: Vec<String> = Vec::new();
    let words = ["rand_pcg", "rand::", "thread_rng", "getrandom"];
    assert_eq!(offenders("src", &words, &["src/rng.rs"]), none);
    assert_eq!(offenders("crates", &words, &[]), none);
}

#[test]
fn the_rules_can_fail() {
    // The scanner finds what it looks for: the one place where each word is allowed.
    assert!(!offenders("src", &["rand_pcg"], &[]).is_empty());
    assert!(!offenders("src", &["wgpu::"], &[]).is_empty());
    assert!(!offenders("crates", &["println!"], &[]).is_empty());
}
