//! What a message costs the courier: hostile text made safe, and a whole message body for Slack.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ngx_http_poolwatch_module::alert::{Alert, ExampleRequest, Kind, PoolFacts, Rates, Reasons, Severity};
use ngx_http_poolwatch_module::deliver::slack;
use ngx_http_poolwatch_module::text;

fn texts(criterion: &mut Criterion) {
    let plain = b"GET /shop/basket/items/4711/price".repeat(8);
    let hostile = "<!channel> \u{202e}\x1b[0m`&é→".repeat(8).into_bytes();
    let mut group = criterion.benchmark_group("text");
    for (name, bytes) in [("plain", &plain), ("hostile", &hostile)] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("escaped, {name}"), |bencher| {
            bencher.iter(|| text::escaped(black_box(bytes), 256));
        });
        group.bench_function(format!("path, {name}"), |bencher| {
            bencher.iter(|| text::path_without_secrets(black_box(bytes)));
        });
    }
}

fn bodies(criterion: &mut Criterion) {
    let pool = |name: &str, release: &str| {
        Some(PoolFacts {
            name: name.into(),
            addresses: vec![b"172.18.0.3:3000".to_vec()],
            release: release.into(),
            is_unknown: false,
        })
    };
    let example = ExampleRequest {
        method: b"GET".to_vec(),
        path: b"/checkout/42".to_vec(),
        status: 200,
        upstream_status: b"502, 200".to_vec(),
        upstream_addr: b"172.18.0.3:3000, 172.18.0.4:3000".to_vec(),
        upstream_response_time: b"0.001, 0.012".to_vec(),
    };
    let alert = Alert {
        from: pool("blue", "v1.4.2"),
        to: pool("green", "v1.5.0"),
        reasons: Reasons { refused: 3, ..Reasons::default() },
        rates: Rates::new(200, 3, 0),
        examples: vec![example; 3],
        ..Alert::about(Kind::Failover, Severity::Warning, b"app", 1_795_441_703_000, "web1.example.org")
    };
    let mut group = criterion.benchmark_group("slack");
    group.bench_function("body of a failover", |bencher| bencher.iter(|| slack::body(black_box(&alert))));
    group.bench_function("plain text of it", |bencher| bencher.iter(|| slack::fallback(black_box(&alert))));
}

criterion_group!(benches, texts, bodies);
criterion_main!(benches);
