package Bench::Measure;

# Functions that each measure one figure of one way: throughput, instructions, alert latency, wake-ups, start-up,
# memory.

use strict;
use warnings;

use Cwd qw(abs_path);
use HTTP::Tiny;
use IO::Socket::INET;
use List::Util qw(max min sum0);
use Bench::Ways;
use Poolwatch;
use Time::HiRes qw(sleep time);

# Of sorted values: the lowest, the median, the highest; or the value at a share of the way.
sub ordered { return sort { $a <=> $b } @_ }
sub at      { my ($share, @values) = @_; my @ordered = ordered(@values); return $ordered[ $#ordered * $share + 0.5 ] }
sub median  { return at(0.5, @_) }

# A run of wrk: requests/s, latency at 50 and 99 % in ms, CPU seconds per million requests, resident MiB, log lines
# about lost requests.
sub load {
    my ($way, $backends, $seconds, %more) = @_;
    my $host = Bench::Ways::start($way, Bench::Ways::host($way, $backends, %more));
    my @watching = ($host->workers, $host->{watcher} // ());
    my $before = cpu(@watching);
    my $wrk = `wrk -t1 -c64 -d${seconds}s --latency http://127.0.0.1:$host->{ports}{PORT}@{[$way->{path} // '/']}`;
    # What a watcher has not read yet will cost it too.
    sleep 0.2;
    my $cpu = cpu(@watching) - $before;
    my $memory = sum0(map { resident($_) } @watching) / 1024;
    my ($requests) = $wrk =~ /(\d+) requests in/ or die "wrk: $wrk";
    die "requests failed:\n$wrk" if $wrk =~ /Non-2xx|(?:connect|read|write) [1-9]/;
    my ($rate) = $wrk =~ m{Requests/sec:\s+([\d.]+)};
    my ($p50, $p99) = map { $wrk =~ /^\s+$_%\s+([\d.]+)(us|ms|s)/m ? $1 * { us => 0.001, ms => 1, s => 1000 }->{$2} : die $wrk } 50, 99;
    $host->quit('TERM');
    my $lost = sum0($host->error_log =~ /(\d+) requests were not observed/g);
    Bench::Ways::end($host);
    return { rate => $rate, p50 => $p50, p99 => $p99, cpu => $cpu * 1e6 / $requests, memory => $memory, lost => $lost };
}

# Requests/s of a proxy with two workers while other requests come at this rate, in turn for the status page, the API
# and the metrics; or for files of their sizes.
sub beside_looks {
    my ($backends, $seconds, $rate, $files) = @_;
    my $way  = Bench::Ways::by_key('poolwatch');
    my $host = Bench::Ways::host($way, $backends, workers => 2, server => 'location /poolwatch/ { poolwatch_status; } location /files/ { root .; }');
    Bench::Ways::start($way, $host);
    my @paths = map { "/poolwatch/$_" } '', qw(api/v1/state metrics);
    if ($files) {
        mkdir "$host->{prefix}/files";
        $host->write_file("files/$_", 'x' x length $host->get($paths[$_])->{content}) for 0 .. $#paths;
        @paths = map { "/files/$_" } 0 .. $#paths;
    }
    my $looker = looker($host, $rate, @paths);
    my ($proxied) = `wrk -t1 -c32 -d${seconds}s http://127.0.0.1:$host->{ports}{PORT}/` =~ m{Requests/sec:\s+([\d.]+)};
    kill 'KILL', $looker;
    waitpid $looker, 0;
    Bench::Ways::end($host);
    return $proxied;
}

# A process that requests the paths in turn, at this rate per second, each on a connection of its own.
sub looker {
    my ($host, $rate, @paths) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    my @clients = map { HTTP::Tiny->new(keep_alive => 1, timeout => 30) } @paths;
    my $next = time;
    for (my $look = 0;; $look++) {
        my $place = $look % @paths;
        $clients[$place]->get("http://127.0.0.1:$host->{ports}{PORT}$paths[$place]")->{status} == 200 or die "no answer to a look\n";
        $next += 1 / $rate;
        sleep max(0, $next - time);
    }
}

# Instructions of the observer's thread per observation, in batches as under load: only the pure parts, from the channel
# to the table.
sub observer_instructions {
    my ($few, $many) = @_;
    local $ENV{CARGO_PROFILE_BENCH_STRIP} = 'none';
    my @build = qw(cargo bench --locked --no-default-features --bench fold --no-run --target-dir target/callgrind);
    my ($program) = `@build 2>&1` =~ /Executable .*\((\S+)\)/ or die "cargo bench failed\n";
    my @counts = map {
        my $said = `valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*observe_batch*' $program --batches $_ 2>&1`;
        $said =~ /Collected : (\d+)/ ? $1 : die "callgrind said nothing\n";
    } $few, $many;
    # A batch has 128 observations.
    return ($counts[1] - $counts[0]) / ($many - $few) / 128;
}

# Seconds of CPU that processes have used, with all threads.
sub cpu {
    return sum0(map { my @stat = split ' ', slurp("/proc/$_/stat") =~ s/^.*\) //sr; ($stat[11] + $stat[12]) / 100 } @_);
}

sub slurp { my ($name) = @_; open my $file, '<', $name or return ''; local $/; return <$file> // '' }

# Resident memory in KiB.
sub resident { my ($pid) = @_; return slurp("/proc/$pid/status") =~ /^VmRSS:\s+(\d+)/m ? $1 : 0 }

# Instructions of the event loop's thread per request: callgrind counts two runs of different length, and their
# difference does not contain the start-up.
sub instructions {
    my ($way, $backends, $few, $many, @options) = @_;
    my @counts = map { count($way, $backends, $_, @options) } $few, $many;
    return ($counts[1] - $counts[0]) / ($many - $few);
}

# Only those of the log handler: for a module that still has its symbols.
sub handler_instructions {
    my ($way, $backends, $few, $many) = @_;
    local $ENV{CARGO_PROFILE_RELEASE_STRIP} = 'none';
    system(qw(cargo build --quiet --release --locked --target-dir target/callgrind)) == 0 or die "cargo build failed\n";
    local $ENV{POOLWATCH_MODULE} = abs_path('target/callgrind/release/libngx_http_poolwatch_module.so');
    return instructions($way, $backends, $few, $many, '--toggle-collect=*poolwatch_module*log_request*');
}

# Those of a whole run.
sub count {
    my ($way, $backends, $requests, @options) = @_;
    my $host = Bench::Ways::host($way, $backends, single => 1);
    my $out = "$host->{prefix}/callgrind";
    my @valgrind = ('valgrind', '--tool=callgrind', "--callgrind-out-file=$out", '--separate-threads=yes', @options);
    my $pid = $host->spawn('valgrind', {}, undef, @valgrind, $host->command);
    my $is_up = sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $host->{ports}{PORT}, Timeout => 1) };
    Poolwatch::wait_until($is_up, 'nginx under valgrind', 60);
    my $client = HTTP::Tiny->new(keep_alive => 1, timeout => 30);
    for (1 .. $requests) {
        my $response = $client->get("http://127.0.0.1:$host->{ports}{PORT}@{[$way->{path} // '/']}");
        $response->{status} == 200 or die "answered $response->{status}\n";
    }
    kill 'QUIT', $pid;
    waitpid $pid, 0;
    delete $host->{pids}{$pid};
    my ($total) = `callgrind_annotate $out-01` =~ /([\d,]+) .*PROGRAM TOTALS/ or die "callgrind said nothing\n";
    Bench::Ways::end($host);
    return $total =~ tr/,//dr;
}

# Milliseconds from the first response of green after blue was killed until the alert arrives at the receiver.
sub alert_latency {
    my ($way, $rate, %more) = @_;
    my ($host, $read, @clients) = failing($way, $rate, %more);
    my ($message) = $host->messages(1);
    # The alert may arrive before the client has noted the response.
    my @firsts = scalar <$read>;
    kill 'KILL', @clients;
    waitpid $_, 0 for @clients;
    my $first = min(@firsts, <$read>);
    Bench::Ways::end($host);
    return $message->{received_unix_ms} - 1000 * $first;
}

# Milliseconds from when blue is back until the alert arrives that blue serves again.
sub recovery_latency {
    my ($way, $rate, %more) = @_;
    my ($host, $read, @clients) = failing($way, $rate, %more);
    $host->messages(1);
    $host->app('blue');
    my $back = time;
    my ($message) = reverse $host->messages(2, 60);
    kill 'KILL', @clients;
    waitpid $_, 0 for @clients;
    Bench::Ways::end($host);
    return $message->{received_unix_ms} - 1000 * $back;
}

# A host under steady traffic whose blue has just been killed, what its clients write, and the clients.
sub failing {
    my ($way, $rate, %more) = @_;
    my $host = Bench::Ways::host($way, undef, workers => 4, fails => 'max_fails=1 fail_timeout=10s', %more);
    Bench::Ways::start($way, $host);
    my $clients = min(8, $rate);
    pipe my $read, my $write or die $!;
    my @clients = map { client($host, $rate / $clients, $write) } 1 .. $clients;
    close $write;
    # Each client has had one answer of blue, and more than one arrive before blue dies.
    <$read> // die "no answer\n" for @clients;
    sleep max(0.25, 2 / $rate);
    $host->stop('blue');
    return ($host, $read, @clients);
}

# A process that sends requests at this rate, and writes one line with its first answer of blue and one with the time of
# the first answer of green.
sub client {
    my ($host, $rate, $write) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    $write->autoflush;
    my $client = HTTP::Tiny->new(keep_alive => 1, timeout => 30);
    my ($next, $last) = (time, '');
    while (1) {
        my $pool = $client->get("http://127.0.0.1:$host->{ports}{PORT}/")->{headers}{'x-app-pool'} // '';
        syswrite $write, sprintf "%.6f\n", time if $pool && $pool ne $last;
        $last = $pool;
        $next += 1 / $rate;
        sleep max(0, $next - time);
    }
}

# How often the module's threads of an idle worker wake in this many seconds.
sub idle_wakeups {
    my ($backends, $seconds) = @_;
    my $way = Bench::Ways::by_key('poolwatch');
    my $host = Bench::Ways::start($way, Bench::Ways::host($way, $backends, workers => 2));
    $host->get_many(100);
    # The observers poll for 100 ms after the last request.
    sleep 1;
    my $before = switches($host->workers);
    sleep $seconds;
    my $wakeups = switches($host->workers) - $before;
    Bench::Ways::end($host);
    return $wakeups;
}

# Context switches of the module's threads so far.
sub switches {
    my @threads = grep { /^Name:\s+poolwatch-/m } map { slurp($_) } map { glob "/proc/$_/task/*/status" } @_;
    @threads or die "no thread of ours\n";
    return sum0(map { /ctxt_switches:\s+(\d+)/g } @threads);
}

# Calls of futex and of write by the event loop under load, per request.
sub syscalls {
    my ($way, $backends, $seconds) = @_;
    my $host = Bench::Ways::start($way, Bench::Ways::host($way, $backends));
    my ($worker) = $host->workers;
    my $out = "$host->{prefix}/strace";
    my $strace = $host->spawn('strace', {}, undef, 'strace', '-c', '-e', 'trace=futex,write', '-o', $out, '-p', $worker);
    Poolwatch::wait_until(sub { slurp("/proc/$worker/status") =~ /^TracerPid:\s+[1-9]/m }, 'strace', 10);
    my ($requests) = `wrk -t1 -c64 -d${seconds}s http://127.0.0.1:$host->{ports}{PORT}/` =~ /(\d+) requests in/;
    kill 'INT', $strace;
    waitpid $strace, 0;
    delete $host->{pids}{$strace};
    my $calls = sum0(slurp($out) =~ /^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(?:futex|write)$/mg);
    Bench::Ways::end($host);
    return $calls / $requests;
}

# Milliseconds that `nginx -t` takes, and milliseconds until a starting nginx listens.
sub start_up {
    my ($way, $backends) = @_;
    my $host = Bench::Ways::host($way, $backends);
    my $begin = time;
    $host->test_config;
    my $tested = time;
    $host->start;
    my @times = map { 1000 * $_ } $tested - $begin, time - $tested;
    Bench::Ways::end($host);
    return @times;
}

# KiB of zone that this many upstreams need.
sub zone_size {
    my ($upstreams) = @_;
    my $host = Poolwatch->new;
    my $blocks = join '', map { "upstream u$_ { server 127.0.0.1:1; poolwatch on; }\n" } 1 .. $upstreams;
    $host->write_config($blocks, 'poolwatch_zone poolwatch 32k;', 'location / { return 200; }');
    my ($status, $said) = $host->test_config;
    Bench::Ways::end($host);
    return $said =~ /the watched upstreams need (\d+)k/ ? $1 : die $said;
}

1;
