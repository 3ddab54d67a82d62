//! [`Backend`] on the CPU: each method checks sizes and names its kernel.

use super::{
    Codebook, Cpu, Isa, Partition, Rows, Seeding, amx, assign, beam, centroid, column_sum, covariance, distance, dots,
    loads, normalize, project, residual, restride, row_norm, tally,
};
use crate::compute::{
    AssignmentKernels, AssignmentScores, Backend, BeamCodes, CentroidKernels, DeviceInfo, DeviceKind, HostPartition,
    LevelCodes, Metric, PreprocessSteps, RowKernels, SeedingKernels, SoftLoads, Storage, sizes,
};
use crate::data::MatrixView;
use crate::error::{Error, Result, check_shape};

/// Refuses a codebook or partition made for other rows.
fn agree(rows: &Rows, codebook: Option<&Codebook>, partition: Option<&Partition>) -> Result<()> {
    if let Some(codebook) = codebook {
        check_shape("d", rows.d, codebook.d, "codebook")?;
    }
    if let Some(partition) = partition {
        check_shape("rows", rows.n, partition.labels.len(), "partition")?;
    }
    Ok(())
}

/// Refuses a partition that is not tallied for `k` labels, or whose labels changed since.
fn tallied(partition: &Partition, k: usize) -> Result<()> {
    if partition.starts.len() == k + 1 { Ok(()) } else { Err(Error::Data("the partition is not tallied".into())) }
}

/// Refuses no codebooks, and codebooks of other dimensions than the rows.
fn check_books(codebooks: &[Codebook], dims: usize) -> Result<()> {
    if codebooks.is_empty() {
        return Err(Error::Data("expected at least 1 level, got 0".into()));
    }
    codebooks.iter().enumerate().try_for_each(|(l, b)| check_shape("d", dims, b.d, format!("codebook {l}")))
}

fn index_below(what: &str, index: usize, bound: usize) -> Result<()> {
    if index < bound { Ok(()) } else { Err(Error::Data(format!("{what} {index} of {bound}"))) }
}

fn processor_name() -> String {
    // Miri has no such instruction.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::__cpuid;
        if __cpuid(0x8000_0000).eax >= 0x8000_0004 {
            let bytes: Vec<u8> = (0x8000_0002..=0x8000_0004u32)
                .flat_map(|leaf| {
                    let r = __cpuid(leaf);
                    [r.eax, r.ebx, r.ecx, r.edx]
                })
                .flat_map(u32::to_le_bytes)
                .take_while(|b| *b != 0)
                .collect();
            return String::from_utf8_lossy(&bytes).trim().to_owned();
        }
    }
    std::env::consts::ARCH.to_owned()
}

impl Storage for Cpu {
    type Rows = Rows;

    type Codebook = Codebook;

    type Partition = Partition;

    fn upload_rows(&self, n: usize, d: usize, fill: &mut dyn FnMut(usize, &mut [f32]) -> Result<()>) -> Result<Rows> {
        let len = sizes::rows(n, d)?;
        let needed_bytes = sizes::byte_size(n, d);
        let out_of_memory = || Error::OutOfMemory { what: format!("{n} rows of {d} f32"), needed_bytes };
        let mut data: Vec<f32> = Vec::new();
        data.try_reserve_exact(len).map_err(|_| out_of_memory())?;
        // Pieces small enough that zeroing one leaves it in cache for the reader.
        let step = ((1usize << 18) / d).max(1);
        for start in (0..n).step_by(step) {
            let count = step.min(n - start);
            data.resize((start + count) * d, 0.0);
            fill(start, &mut data[start * d..])?;
        }
        Ok(Rows::new(n, d, data))
    }

    fn read_rows(&self, rows: &Rows, start: usize, out: &mut [f32]) -> Result<()> {
        let from = start.saturating_mul(rows.d);
        let part = rows.data.get(from..from.saturating_add(out.len()));
        let part = part.ok_or_else(|| Error::Data(format!("{} values from row {start} of {}", out.len(), rows.n)))?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn shape(&self, rows: &Rows) -> (usize, usize) {
        (rows.n, rows.d)
    }

    fn gather_rows(&self, rows: &Rows, indices: &[u32]) -> Result<Rows> {
        indices.iter().try_for_each(|i| index_below("row", *i as usize, rows.n))?;
        let data = indices.iter().flat_map(|i| &rows.data[*i as usize * rows.d..][..rows.d]).copied().collect();
        Ok(Rows::new(indices.len(), rows.d, data))
    }

    fn codebook(&self, k: usize, d: usize, values: &[f32], metric: Metric) -> Result<Codebook> {
        sizes::codebook(k, d, values.len())?;
        Ok(Codebook::new(k, d, values.to_vec(), metric))
    }

    fn codebook_shape(&self, codebook: &Codebook) -> (usize, usize) {
        (codebook.k, codebook.d)
    }

    fn read_codebook(&self, codebook: &Codebook) -> Result<Vec<f32>> {
        Ok(codebook.values.clone())
    }

    fn set_codewords(&self, codebook: &mut Codebook, changes: &[(u32, Vec<f32>)]) -> Result<()> {
        for (j, value) in changes {
            index_below("codeword", *j as usize, codebook.k)?;
            check_shape("d", codebook.d, value.len(), format!("codeword {j}"))?;
        }
        for (j, value) in changes {
            codebook.values[*j as usize * codebook.d..][..codebook.d].copy_from_slice(value);
        }
        codebook.derive();
        Ok(())
    }

    fn set_prices(&self, codebook: &mut Codebook, prices: &[f32]) -> Result<()> {
        check_shape("k", codebook.k, prices.len(), "prices")?;
        codebook.prices = prices.to_vec();
        codebook.derive();
        Ok(())
    }

    fn partition(&self, n: usize) -> Result<Partition> {
        Ok(Partition { labels: vec![0; n], best: vec![0.0; n], second: vec![0.0; n], ..Partition::default() })
    }

    fn partition_from(&self, labels: &[u32]) -> Result<Partition> {
        Ok(Partition { labels: labels.to_vec(), ..self.partition(labels.len())? })
    }

    fn read_partition(&self, partition: &Partition) -> Result<HostPartition> {
        let Partition { labels, best, second, .. } = partition;
        Ok(HostPartition { labels: labels.clone(), best: best.clone(), second: second.clone() })
    }
}

impl AssignmentKernels for Cpu {
    fn distances(&self, rows: &Rows, codebook: &Codebook) -> Result<Vec<f32>> {
        agree(rows, Some(codebook), None)?;
        sizes::values("distances", rows.n, codebook.k)?;
        Ok(distance::distance(rows, codebook))
    }

    fn assign(&self, rows: &Rows, codebook: &Codebook, partition: &mut Partition) -> Result<AssignmentScores> {
        agree(rows, Some(codebook), Some(partition))?;
        // What was tallied described other labels.
        partition.starts.clear();
        Ok(assign::assign(rows, codebook, partition))
    }

    fn loads(&self, rows: &Rows, codebook: &Codebook, epsilon: f32, partition: &mut Partition) -> Result<SoftLoads> {
        agree(rows, Some(codebook), Some(partition))?;
        partition.starts.clear();
        Ok(loads::loads(rows, codebook, epsilon, partition))
    }

    fn farthest(&self, rows: &Rows, partition: &Partition, count: usize) -> Result<Vec<u32>> {
        agree(rows, None, Some(partition))?;
        let norms = row_norm::norms(rows);
        let squared: Vec<f32> = norms.iter().zip(&partition.best).map(|(n, s)| n + 2.0 * s).collect();
        let mut order: Vec<u32> = (0..rows.n as u32).collect();
        order.sort_by(|a, b| squared[*b as usize].total_cmp(&squared[*a as usize]).then(a.cmp(b)));
        order.truncate(count);
        Ok(order)
    }

    fn residual(&self, rows: &mut Rows, codebook: &Codebook, partition: &Partition) -> Result<()> {
        agree(rows, Some(codebook), Some(partition))?;
        if let Some(label) = partition.labels.iter().find(|l| **l as usize >= codebook.k) {
            index_below("label", *label as usize, codebook.k)?;
        }
        residual::residual(rows, codebook, partition);
        Ok(())
    }
}

impl CentroidKernels for Cpu {
    fn tally(&self, partition: &mut Partition, k: usize) -> Result<Vec<u32>> {
        tally::tally(partition, k);
        Ok(partition.counts.clone())
    }

    fn update(&self, rows: &Rows, partition: &mut Partition, codebook: &mut Codebook, weights: &[f32]) -> Result<()> {
        agree(rows, Some(codebook), Some(partition))?;
        tallied(partition, codebook.k)?;
        check_shape("k", codebook.k, weights.len(), "weights")?;
        centroid::update(rows, partition, codebook, weights);
        Ok(())
    }

    fn centroid_sums(&self, rows: &Rows, partition: &mut Partition, k: usize) -> Result<Vec<f64>> {
        agree(rows, None, Some(partition))?;
        tallied(partition, k)?;
        // A sum is an f64.
        sizes::values("sums by label", k, rows.d.saturating_mul(2))?;
        Ok(centroid::sums(rows, partition, k))
    }
}

impl RowKernels for Cpu {
    fn normalize(&self, rows: &mut Rows) -> Result<Vec<f32>> {
        Ok(normalize::normalize(rows))
    }

    fn row_norms(&self, rows: &Rows) -> Result<Vec<f32>> {
        Ok(row_norm::norms(rows).to_vec())
    }

    fn sum_squares(&self, rows: &Rows) -> Result<f64> {
        Ok(row_norm::norms(rows).iter().map(|v| f64::from(*v)).sum())
    }

    fn column_sums(&self, rows: &Rows) -> Result<Vec<f64>> {
        Ok(column_sum::column_sums(rows))
    }

    fn scatter(&self, rows: &Rows, mean: &[f32]) -> Result<Vec<f64>> {
        if !mean.is_empty() {
            check_shape("d", rows.d, mean.len(), "mean")?;
        }
        sizes::values("products of columns", rows.d, rows.d.saturating_mul(2))?;
        Ok(covariance::scatter(rows, mean))
    }

    fn columns(&self, rows: &Rows, first: usize, count: usize) -> Result<Rows> {
        sizes::columns(rows.d, first, count)?;
        Ok(restride::columns(rows, first, count))
    }

    fn project(&self, rows: &Rows, mean: &[f32], components: &[f32], scales: &[f32]) -> Result<Rows> {
        let p = if components.is_empty() { rows.d } else { components.len() / rows.d.max(1) };
        if !mean.is_empty() {
            check_shape("d", rows.d, mean.len(), "mean")?;
        }
        if !components.is_empty() {
            check_shape("components", p.saturating_mul(rows.d), components.len(), "components")?;
        }
        if !scales.is_empty() {
            check_shape("d", p, scales.len(), "scales")?;
        }
        sizes::rows(rows.n, p)?;
        Ok(project::project(rows, mean, components, scales))
    }
}

impl SeedingKernels for Cpu {
    type Seeding = Seeding;

    fn seeding(&self, rows: &Rows) -> Result<Seeding> {
        Ok(Seeding::new(rows.n))
    }

    fn seeding_draw(&self, seeding: &Seeding, uniforms: &[f64]) -> Result<Vec<u32>> {
        seeding.draw(uniforms)
    }

    fn seeding_try(&self, rows: &Rows, seeding: &mut Seeding, candidates: &[u32]) -> Result<Vec<f64>> {
        seeding.attempt(rows, candidates)
    }

    fn seeding_accept(&self, seeding: &mut Seeding, slot: usize) -> Result<Vec<f64>> {
        seeding.accept(slot)
    }
}

impl Backend for Cpu {
    fn info(&self) -> DeviceInfo {
        let tiles = if amx::available() { " + amx-bf16" } else { "" };
        DeviceInfo {
            kind: DeviceKind::Cpu,
            name: processor_name(),
            driver: format!("{}{tiles}, {} threads", Isa::detect().name(), rayon::current_num_threads()),
            api: "cpu".into(),
        }
    }

    fn dot_error(&self, dims: usize) -> f64 {
        dots::dot_error(dims)
    }

    fn projection_error(&self, dims: usize) -> f64 {
        dots::blocked_error(dims)
    }

    fn unit_roundoff(&self) -> f64 {
        (0.5f64).powi(24)
    }

    fn encode_rows(
        &self,
        rows: MatrixView<'_>,
        steps: &PreprocessSteps<'_>,
        codebooks: &[Codebook],
    ) -> Result<LevelCodes> {
        let p = if steps.components.is_empty() { rows.dims() } else { steps.components.len() / rows.dims().max(1) };
        if steps.product {
            sizes::side_by_side(p, codebooks.iter().map(|b| b.d))?;
        } else {
            check_books(codebooks, p)?;
        }
        Ok(assign::encode_rows(rows, steps, codebooks))
    }

    fn beam(&self, rows: &Rows, codebooks: &[Codebook], gram: &[Vec<f32>], width: usize) -> Result<BeamCodes> {
        check_books(codebooks, rows.d)?;
        check_shape("levels", codebooks.len(), gram.len(), "table of codeword products")?;
        let mut before = 0;
        for (level, (table, book)) in gram.iter().zip(codebooks).enumerate() {
            check_shape("values", book.k * before, table.len(), format!("table of codeword products {level}"))?;
            before += book.k;
        }
        if width == 0 || width > 64 {
            return Err(Error::Data(format!("expected a beam of 1 to 64 prefixes, got {width}")));
        }
        Ok(beam::beam(rows, codebooks, gram, width))
    }
}
