//! What counting costs: a request with its verdict, a refusal with its reason, a connection from
//! begin to end; and reading all of it, as metrics do.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use gateway_common::path::PathSlot;
use gateway_common::verdict::RequestVerdict;
use gateway_daemon::counters::{ConnectionEnd, PathSlots, Regions, Totals};

use super::SIZES;

/// Rows of workers that are read.
const WORKERS: u32 = 4;

pub(crate) fn writing(c: &mut Criterion) {
    let regions = Regions::anonymous(1).expect("memory for counters");
    let worker = regions.worker(0).expect("a row for the first worker");
    let mut group = c.benchmark_group("counters");
    group.bench_function("request", |b| {
        b.iter(|| worker.record(black_box(PathSlot(7)), RequestVerdict::Allowed, 0, 195));
    });
    group.bench_function("refusal", |b| {
        b.iter(|| {
            worker.record(black_box(PathSlot(7)), RequestVerdict::Denied, 0, 19);
            worker.refused(black_box(3));
        });
    });
    group.bench_function("connection", |b| {
        b.iter(|| {
            worker.connection_accepted();
            worker.connection_closed(black_box(ConnectionEnd::Served));
        });
    });
}

pub(crate) fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("counters/read");
    for size in SIZES {
        let regions = Regions::anonymous(WORKERS).expect("memory for counters");
        let names: Vec<String> = (0..size).map(|at| format!("Exact /path/{at}")).collect();
        PathSlots::new(regions.clone()).assign(&names);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| Totals::read(black_box(&regions)));
        });
    }
}
