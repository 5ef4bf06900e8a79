# The status location of a real nginx: its JSON against the schema, its metrics for promtool and a real Prometheus, what it takes and
# what it refuses, and what the variables say.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP qw(decode_json encode_json);
use Poolwatch;
use Test::More;

my $root = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/..');

my $server = <<'CONF';
location / { proxy_pass http://app; add_header X-State $poolwatch_state; add_header X-Pool $poolwatch_pool; }
        location /poolwatch/ { poolwatch_status write=on; allow 127.0.0.1; deny all; keepalive_requests 1000000; }
        location /read { poolwatch_status; }
        location /none { return 200 "[$poolwatch_state]"; }
        location /limited/ { poolwatch_status write=on; limit_except GET { allow 127.0.0.1; deny all; } location /limited/not/ { } }
        location /closed/ { poolwatch_status write=on; limit_except GET { deny all; } }
        location /unguarded/ { poolwatch_status write=on; auth_basic off; }
        location /relative/ { poolwatch_status; absolute_redirect off; }
        location /with/out { poolwatch_status; absolute_redirect off; }
        location "/a b" { poolwatch_status; }
        location "/c d/" { poolwatch_status; }
CONF

sub slurp {
    my ($name) = @_;
    open my $file, '<:raw', $name or die "$name: $!";
    local $/;
    return <$file> // '';
}

# The whole answer, as it comes: a client library would hide a body where none belongs.
sub raw {
    my ($host, $request) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $host->{ports}{PORT}, Timeout => 5) or die $!;
    binmode $socket;
    local $SIG{PIPE} = 'IGNORE';
    print $socket $request;
    local $/;
    return <$socket> // '';
}

sub host {
    my (%options) = @_;
    my $host = Poolwatch->new(%options);
    $host->app('blue', RELEASE_ID => 'v1.2.3');
    $host->app('green', RELEASE_ID => 'v1.3.0');
    $host->slack;
    $host->write_config($host->blue_green('poolwatch_runbook https://runbook.example/app; ' . ($options{more} // '')), $host->receiver . <<'CONF', $server);

    log_format watched '$status $poolwatch_state $poolwatch_pool $poolwatch_release $poolwatch_error_rate';
CONF
    # The last access_log counts.
    my $text = slurp("$host->{prefix}/nginx.conf");
    $text =~ s/access_log off;/access_log logs\/access.log watched;/;
    $text =~ s/(access_log logs[^\n]+)(.*?)(    log_format[^\n]+\n)/$3    $1$2/s;
    $host->write_file('nginx.conf', $text);
    return $host;
}

sub state { my ($host, $part) = @_; return $host->api($part // 'state') }

# What the schema says of a document, nothing if it has no objection.
sub objections {
    my ($host, $name, $text, $definition) = @_;
    $host->write_file("$name.json", $text);
    my $check = <<'PYTHON';
import json, sys
from jsonschema import Draft202012Validator as Validator
schema, document, definition = sys.argv[1:]
schema = json.load(open(schema))
Validator.check_schema(schema)
if definition:
    schema = {"$ref": "#/$defs/" + definition, "$defs": schema["$defs"]}
for error in Validator(schema).iter_errors(json.load(open(document))):
    print(list(error.absolute_path), error.message[:200])
PYTHON
    my @command = ('python3', '-c', $check, "$root/docs/api/v1.schema.json", "$host->{prefix}/$name.json", $definition // '');
    open my $out, '-|', @command or die $!;
    my $said = do { local $/; <$out> } // '';
    close $out or $said .= "the validator failed\n";
    return $said;
}

# A write, as a client of the API sends it.
sub ask {
    my ($host, $method, $path, $body, %headers) = @_;
    my %all = ('Content-Type' => 'application/json', 'X-Poolwatch' => 1, %headers);
    delete $all{$_} for grep { !defined $all{$_} } keys %all;
    my $text = ref $body ? encode_json($body) : $body // '';
    return $host->http($method, $host->{ports}{PORT}, "/poolwatch/api/v1/$path", headers => \%all, content => $text);
}

subtest('what is known, as JSON', sub {
    my $host = host(workers => 2);
    is(objections($host, 'example', slurp("$root/docs/api/example.json")), '', 'the example is valid');
    is(objections($host, 'golden', slurp("$root/tests/golden/status/state.json")), '', 'so is what the tests of the pipeline know');
    isnt(objections($host, 'wrong', '{"version": 2}'), '', 'and something else is not');
    $host->start;
    my $empty = $host->get('/poolwatch/api/v1/state');
    is(objections($host, 'empty', $empty->{content}), '', 'before the first request the state is valid');
    $host->get_many(50);
    $host->chaos('blue', 'error');
    $host->get_until(sub { $host->messages(0, 0) }, 'the failover alert', 10);
    my $response = $host->get('/poolwatch/api/v1/state');
    is($response->{status}, 200, 'answered');
    is($response->{headers}{'content-type'}, 'application/json', 'as JSON');
    is($response->{headers}{'cache-control'}, 'no-store', 'not to be kept');
    is($response->{headers}{'x-content-type-options'}, 'nosniff', 'nor guessed at');
    is(objections($host, 'state', $response->{content}), '', 'and by the schema');
    unlike($response->{content}, qr{services/T/B}, "the webhook's URL is not in it");

    my $state = decode_json($response->{content});
    my ($app) = @{ $state->{upstreams} };
    is_deeply($app->{serving}, { state => 'pool', pool => 'green' }, 'green serves');
    is($app->{expected_pool}, 'blue', 'where blue should');
    my %pools = map { $_->{name} => $_ } @{ $app->{pools} };
    is($pools{blue}{requests}{served}, 50, 'blue served what it was asked before');
    cmp_ok($pools{green}{requests}{masked_failover}, '>=', 1, 'green answered in its place');
    cmp_ok($pools{blue}{attempts}{server_error}, '>=', 1, 'whose attempts failed');
    is($pools{blue}{peers}[0]{address}, "127.0.0.1:$host->{ports}{BLUE}", 'at its address');
    is($pools{blue}{peers}[0]{last}{result}, 'server_error', 'with the last result');
    is_deeply([sort map { $_->{release} } @{ $app->{releases} }], ['v1.2.3', 'v1.3.0'], 'both releases are counted');
    is($app->{alerts}[0]{kind}, 'failover', 'the alert is open');
    Poolwatch::wait_until(sub { (state($host)->{upstreams}[0]{alerts}[0]{deliveries}[0]{result} // '') eq 'accepted' }, 'the delivery');
    my ($change) = @{ state($host)->{history} };
    is_deeply([$change->{kind}, $change->{from}{pool}, $change->{to}{pool}], ['failover', 'blue', 'green'], 'and in the history');
    is(state($host)->{receivers}[0]{sent}, scalar $host->messages(0), 'the receiver has what the mock has');
    is($state->{module}{worker_processes}, 2, 'the module knows nginx');
    for my $part (qw(upstreams receivers silences history module)) {
        is(ref state($host, $part), ref $state->{$part}, "$part alone");
    }

    my @lines = split /\n/, slurp("$host->{prefix}/logs/access.log");
    like($lines[40], qr/^200 pool blue v1\.2\.3 0\.0000$/, 'the access log says who serves');
    $host->get('/');
    # nginx logs a request after the client has its answer.
    my $is_logged = sub { grep { /^200 pool green v1\.3\.0 0\.\d{4}$/ } split /\n/, slurp("$host->{prefix}/logs/access.log") };
    ok(eval { Poolwatch::wait_until($is_logged, 'a line that says green') }, 'and who does after a failover');
    is($host->get('/')->{headers}{'x-pool'}, 'green', 'headers may as well');
    is($host->get('/none')->{content}, '[]', 'without an upstream there is nothing to say');

    my $before = state($host)->{module}{configurations};
    $host->reload;
    my $after = state($host);
    is($after->{module}{configurations}, $before + 1, 'a reload is counted');
    is($after->{upstreams}[0]{requests}{served} >= 50, 1, 'and forgets no request');
    $host->finish;
});

subtest('metrics', sub {
    # Pools that are named before they answer.
    my $host = host(workers => 2, more => 'poolwatch_pool blue 127.0.0.1:%%BLUE%%; poolwatch_pool green 127.0.0.1:%%GREEN%%;');
    my $port = Poolwatch::free_port();
    mkdir "$host->{prefix}/data";
    $host->write_file('prometheus.yml', $host->fill(<<'YAML'));
global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
rule_files: [ rules.yml ]
scrape_configs:
  - job_name: poolwatch
    metrics_path: /poolwatch/metrics
    static_configs: [ { targets: [ "127.0.0.1:%%PORT%%" ] } ]
YAML
    $host->write_file('rules.yml', slurp("$root/deploy/prometheus/poolwatch.rules.yml"));
    $host->start;
    $host->spawn('prometheus', {}, undef, 'prometheus', "--config.file=$host->{prefix}/prometheus.yml",
        "--storage.tsdb.path=$host->{prefix}/data", "--web.listen-address=127.0.0.1:$port", '--log.level=warn');
    my $query = sub {
        my ($text) = @_;
        my $answer = HTTP::Tiny->new(timeout => 5)->post_form("http://127.0.0.1:$port/api/v1/query", { query => $text });
        return undef if $answer->{status} != 200;
        return decode_json($answer->{content})->{data}{result};
    };
    my $value = sub { my $result = $query->(@_); return $result && @$result ? $result->[0]{value}[1] : undef };
    my $series = sub { return join "\n", sort map { s/ \S+$//r } grep { !/^#/ } split /\n/, $host->get('/poolwatch/metrics')->{content} };
    $host->get_many(20);
    my $before = Poolwatch::wait_until(sub { my $now = $series->(); $now =~ /release="v1\.2\.3"/ && $now }, "blue's release");
    my $moves = 'poolwatch_failovers_total{from="blue",to="green"}';
    Poolwatch::wait_until(sub { ($value->($moves) // -1) == 0 }, 'Prometheus to read of no failover', 60);
    $host->stop('blue');
    $host->get_until(sub { $host->messages(0, 0) }, 'the failover alert', 10);
    my $response = $host->get('/poolwatch/metrics');
    is($response->{headers}{'content-type'}, 'text/plain; version=0.0.4; charset=utf-8', 'the type of the text format');
    $host->write_file('metrics', $response->{content});
    open my $check, '-|', "promtool check metrics < $host->{prefix}/metrics 2>&1" or die $!;
    my $said = do { local $/; <$check> } // '';
    is(close $check, 1, 'promtool accepts them');
    is($said, '', 'and has nothing to say');

    Poolwatch::wait_until(sub { $value->($moves) }, 'Prometheus to read of the failover', 60);
    cmp_ok($value->("increase($_\[1m])"), '>', 0, "the first one is an increase of $_") for $moves, 'poolwatch_changes_total';
    is($series->() =~ s/^[^\n]*release="v1\.3\.0"[^\n]*\n//mgr, $before, 'and no series is born by it but of the new release');
    is($value->('up{job="poolwatch"}'), 1, 'Prometheus likes what it scrapes');
    is($query->('poolwatch_active_pool == 1')->[0]{metric}{pool}, 'green', 'green serves');
    is($query->('poolwatch_expected_pool == 1')->[0]{metric}{pool}, 'blue', 'blue should');
    is($value->('poolwatch_failovers_total{from="blue",to="green"}'), 1, 'one failover');
    is($value->('sum(poolwatch_requests_total{upstream="app",pool="blue",result="served"})'), 20, 'requests of blue');
    cmp_ok($value->('poolwatch_requests_total{pool="green",result="masked_failover"}'), '>=', 1, 'and masked failovers');
    cmp_ok($value->('poolwatch_attempts_total{pool="blue",result="refused"}'), '>=', 1, 'and refused attempts');
    cmp_ok($value->('histogram_quantile(0.99, poolwatch_upstream_response_seconds_bucket{pool="blue"})'), '<', 10, 'response times');
    is($value->('poolwatch_alerts_firing{alert="serving"}'), 1, 'the alert fires');
    is($value->('poolwatch_notifications_total{receiver="slack"}'), scalar $host->messages(0), 'what was told');
    is($value->('poolwatch_receiver_up'), 1, 'and to whom');
    is($value->('poolwatch_observations_dropped_total'), 0, 'nothing was lost');
    # The dashboard asks for nothing that is not there.
    my $dashboard = decode_json(slurp("$root/deploy/grafana/poolwatch.json"));
    for my $target (map { @{ $_->{targets} } } @{ $dashboard->{panels} }) {
        my $expr = $target->{expr} =~ s/\$(instance|upstream)/.+/gr =~ s/\$__rate_interval/1m/gr;
        Poolwatch::wait_until(sub { @{ $query->($expr) // die "not a query: $expr\n" } }, "an answer to $expr", 30);
    }
    my $firing = sub { $query->('ALERTS{alertstate="firing"}') // [] };
    Poolwatch::wait_until(sub { @{ $firing->() } }, 'an alert of deploy/prometheus', 30);
    is_deeply([map { $_->{metric}{alertname} } @{ $firing->() }], ['PoolwatchOtherPoolServes'], 'the one that should fire does');
    $host->finish;
});

subtest('writes', sub {
    my $host = host(workers => 2);
    $host->start;
    $host->get_many(20);
    my $created = ask($host, POST => 'silences', { upstream => 'app', duration => '30m', comment => 'café <b>' });
    is($created->{status}, 202, 'a silence is taken') or diag $created->{content};
    is(objections($host, 'accepted', $created->{content}, 'silence_accepted'), '', 'with an answer by the schema');
    my $id = decode_json($created->{content})->{id};
    Poolwatch::wait_until(sub { @{ state($host, 'silences') } == 1 }, 'the silence');
    my ($silence) = @{ state($host, 'silences') };
    is_deeply([@$silence{qw(id upstream comment)}], [$id, 'app', 'café <b>'], 'and is there');
    ok($silence->{remaining_seconds} > 1700 && $silence->{remaining_seconds} <= 1800, 'for as long as asked');
    is(state($host)->{upstreams}[0]{silenced}, 1, 'the upstream is silenced');
    is(objections($host, 'silenced', $host->get('/poolwatch/api/v1/state')->{content}), '', 'by the schema');
    my $line = qr/\[notice\].*silence $id of upstream "app" \("caf\S+ <b>"\) was asked for, client: 127\.0\.0\.1/;
    is(scalar(() = $host->error_log =~ /$line/g), 1, 'one line');

    is(ask($host, DELETE => "silences/$id")->{status}, 202, 'it can be ended');
    Poolwatch::wait_until(sub { !@{ state($host, 'silences') } }, 'its end');
    is(ask($host, DELETE => "silences/$id")->{status}, 404, 'once');
    is(ask($host, POST => 'silences', { duration => 60 })->{status}, 202, 'a silence of all upstreams');
    Poolwatch::wait_until(sub { @{ state($host, 'silences') } == 1 }, 'the silence');
    is(state($host, 'silences')->[0]{upstream}, undef, 'names none');
    is(objections($host, 'all', $host->get('/poolwatch/api/v1/state')->{content}), '', 'by the schema');

    my $messages = () = $host->messages(3);
    is(ask($host, POST => 'test', {})->{status}, 202, 'a test message is taken');
    Poolwatch::wait_until(sub { scalar(() = $host->messages(0)) > $messages }, 'the test message', 20);

    my $own = "http://127.0.0.1:$host->{ports}{PORT}";
    my $long = { upstream => 'app', duration => 60, comment => 'x' x 5000 };
    my @refused = (
        [400, 'no JSON',                'silences', 'nonsense'],
        [400, 'no object',              'silences', '[]'],
        [400, 'no duration',            'silences', { upstream => 'app' }],
        [400, 'too long',               'silences', { upstream => 'app', duration => '25h' }],
        [400, 'nothing',                'silences', { upstream => 'app', duration => 0 }],
        [400, 'something else',         'silences', { upstream => 'app', duration => 60, x => 1 }],
        [404, 'an unknown upstream',    'silences', { upstream => 'nobody', duration => 60 }],
        [413, 'a long body',            'silences', $long],
        [415, 'another type',           'silences', { duration => 60 }, 'Content-Type' => 'text/plain'],
        [403, 'without our header',     'silences', { duration => 60 }, 'X-Poolwatch' => undef],
        [403, "another site's",         'silences', { duration => 60 }, 'Origin' => 'http://evil.example'],
        [403, "another site's test",    'test',     {}, 'Origin' => 'null'],
        [400, 'from two sites',         'silences', { duration => 60 }, 'Origin' => [$own, 'http://evil.example']],
        [400, 'from two sites at once', 'silences', { duration => 60 }, 'Origin' => ['http://evil.example', $own]],
        [400, 'with our header twice',  'silences', { duration => 60 }, 'X-Poolwatch' => [1, 1]],
        [400, 'of two types',           'silences', { duration => 60 }, 'Content-Type' => ['application/json', 'text/plain']],
    );
    for (@refused) {
        my ($status, $what, $path, $body, %headers) = @$_;
        my $answer = ask($host, POST => $path, $body, %headers);
        is($answer->{status}, $status, "$what is refused");
        is(objections($host, 'refused', $answer->{content}, 'error'), '', 'in JSON');
    }
    is(ask($host, POST => 'test', {}, 'X-Poolwatch' => undef, Origin => $own)->{status}, 202, "a page's own origin vouches for it");
    my %limited = map { $_ => $host->http('POST', $host->{ports}{PORT}, "/$_/api/v1/test", headers => { 'X-Poolwatch' => 1 }) } qw(limited closed);
    is_deeply([map { $_->{status} } @limited{qw(limited closed)}], [202, 403], 'limit_except decides who may write');
    is($host->get("/$_/api/v1/state")->{status}, 200, "and not who may look ($_)") for qw(limited closed);
    is($host->get('/limited/not/metrics')->{status}, 404, 'a location within is not ours');
    my $read = $host->http('POST', $host->{ports}{PORT}, '/read/api/v1/test', headers => { 'X-Poolwatch' => 1 });
    is($read->{status}, 403, 'without write=on nothing is taken');
    is(decode_json($host->get('/read/api/v1/state')->{content})->{write}, 0, 'and the state says so');
    is(scalar @{ state($host, 'silences') }, 1, 'of all that was refused nothing was done');
    $host->finish;
});

subtest('looking while workers count, and when one is killed', sub {
    my $host = host(workers => 4);
    $host->start;
    my $load = $host->spawn('wrk', {}, undef, 'wrk', '-t1', '-c8', '-d3s', "http://127.0.0.1:$host->{ports}{PORT}/");
    # A connection stays with its worker, which never shows what is older than what it has shown.
    my @clients = map { { http => HTTP::Tiny->new(timeout => 10, keep_alive => 1), last => 0 } } 1 .. 8;
    my ($looks, $bad) = (0, 0);
    until (waitpid($load, POSIX::WNOHANG()) == $load) {
        my $client = $clients[$looks++ % @clients];
        my $response = $client->{http}->get("http://127.0.0.1:$host->{ports}{PORT}/poolwatch/api/v1/state");
        $bad++, next if $response->{status} != 200;
        my ($app) = @{ decode_json($response->{content})->{upstreams} };
        my ($blue) = grep { $_->{name} ne 'backup' && $_->{name} ne 'green' } @{ $app->{pools} };
        my $served = $blue->{requests}{served};
        # What is copied word by word never goes back, and each attempt is counted before its request.
        $bad++ if $served < $client->{last} || $blue->{attempts}{ok} < $served || $app->{error_rate}{upstream}{requests} > 200;
        $client->{last} = $served;
    }
    my ($last) = sort { $b <=> $a } map { $_->{last} } @clients;
    delete $host->{pids}{$load};
    cmp_ok($looks, '>', 10, 'looks under load');
    is($bad, 0, 'each found a state that can be');
    my ($victim) = $host->workers;
    kill 'KILL', $victim;
    Poolwatch::wait_until(sub { $host->workers == 4 && !grep { $_ == $victim } $host->workers }, 'another worker');
    is(objections($host, 'killed', $host->get('/poolwatch/api/v1/state')->{content}), '', 'after a kill the state is valid');
    Poolwatch::wait_until(sub { state($host)->{upstreams}[0]{requests}{served} >= $last }, 'what was counted');
    $host->allow(qr/\[alert\] .* worker process \d+ exited on signal 9/);
    $host->finish;
});

subtest('paths, methods and what is fuzzed', sub {
    my $host = host(workers => 2);
    $host->start;
    my ($status, $text) = $host->test_config;
    is($status, 0, 'the configuration is valid');
    my @warnings = $text =~ /\[warn\][^\n]*"poolwatch_status write=on" stands in a location without[^\n]*/g;
    is(scalar @warnings, 1, 'and earns one warning') or diag $text;
    my ($line) = $warnings[0] =~ /nginx\.conf:(\d+)/;
    like((split /\n/, slurp("$host->{prefix}/nginx.conf"))[$line - 1], qr/unguarded/, 'about the unguarded one');

    my $page = $host->get('/poolwatch/');
    like($page->{headers}{'content-type'}, qr{^text/html}, 'the page is HTML');
    like($page->{headers}{'content-security-policy'}, qr/frame-ancestors 'none'/, 'in no frame');
    for my $path ('/poolwatch/', '/poolwatch/metrics', '/poolwatch/api/v1/state', '/read/metrics') {
        my ($head, $body) = split /\r\n\r\n/, raw($host, "HEAD $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), 2;
        my $type = $host->get($path)->{headers}{'content-type'};
        like($head, qr{^HTTP/1\.1 200 .*^Content-Type: \Q$type\E\r$}ms, "HEAD $path");
        is($body, '', 'has no body');
    }
    my $site = "http://127.0.0.1:$host->{ports}{PORT}";
    for (['/read', "$site/read/"], ['/poolwatch', "$site/poolwatch/"], ['/limited', "$site/limited/"], ['/relative', '/relative/'],
        ['/with/out', '/with/out/'], ['/read?upstream=a%20b', "$site/read/?upstream=a%20b"], ['/poolwatch?x', "$site/poolwatch/?x"],
        ['/a%20b', "$site/a%20b/"], ['/c%20d', "$site/c%20d/"]) {
        my ($path, $location) = @$_;
        my $moved = $host->get($path);
        is_deeply([$moved->{status}, $moved->{headers}{location}], [301, $location], "$path leads to the page");
    }
    is($host->get('/poolwatch/api/v1/nothing')->{status}, 404, 'what is not there is not found');
    is($host->get('/poolwatch/api/v1/nothing')->{headers}{'content-type'}, 'application/json', 'and says so in JSON');
    my $wrong = $host->http('PUT', $host->{ports}{PORT}, '/poolwatch/api/v1/silences');
    is_deeply([$wrong->{status}, $wrong->{headers}{allow}], [405, 'GET, HEAD, POST'], 'another method is told which would do');

    my @alphabet = ('/', '..', '%2e%2e', 'api', 'v1', 'state', 'silences', 'test', 'metrics', '%00', '%ff', '?', '#', ';', '{', '"', '0', '-1');
    srand 7;
    my %statuses;
    for (1 .. 400) {
        my $path = join '', map { (int rand 3 ? '/' : '') . $alphabet[rand @alphabet] } 1 .. 1 + int rand 6;
        my $method = (qw(GET HEAD POST DELETE PUT OPTIONS PATCH X))[rand 8];
        my $body = join '', map { chr rand 256 } 1 .. int rand(rand 2 > 1 ? 40 : 6000);
        $body = '{"duration": ' . $body . '}' if int rand 2;
        my $framing = int rand 2
            ? 'Content-Length: ' . length($body) . "\r\n\r\n$body"
            : "Transfer-Encoding: chunked\r\n\r\n" . ($body eq '' ? '' : sprintf "%x\r\n%s\r\n", length $body, $body) . "0\r\n\r\n";
        my $first = raw($host, "$method /poolwatch$path HTTP/1.1\r\nHost: x\r\nX-Poolwatch: 1\r\n"
            . "Content-Type: application/json\r\nConnection: close\r\n$framing");
        $statuses{ $first =~ m{^HTTP/1\.1 (\d)} ? "${1}xx" : 'none' }++ ;
    }
    is($statuses{'5xx'} // 0, 0, 'whatever is asked for, nothing fails') or diag explain \%statuses;
    cmp_ok($statuses{'4xx'}, '>', 100, 'most of it is refused');
    is($host->get('/poolwatch/api/v1/state')->{status}, 200, 'and the state is still told');
    $host->finish;
});

done_testing;
