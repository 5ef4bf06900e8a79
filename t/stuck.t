# A worker that stands still while it holds the zone's lock: the others go on serving, look at the state, and count what they could not
# observe. What a server named in an observation that was lost is named again in the next one.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use JSON::PP qw(decode_json);
use Poolwatch;
use Test::More;

my $module = $ENV{POOLWATCH_CRASH_MODULE} // 'target/ngx_http_poolwatch_module_crashpoints.so';
plan skip_all => "no module with crash points, see tools/test" if !-e $module;
$ENV{POOLWATCH_MODULE} = Cwd::abs_path($module);

# Blue is an nginx of its own: a worker that stands still answers nobody.
my $blue = Poolwatch->new(workers => 1);
$blue->write_config('', '', join '', map { "location /$_ { add_header X-App-Pool blue; add_header X-Release-Id $_; return 200 ok; }\n" } qw(one two));
$blue->start;

my $host = Poolwatch->new(workers => 2);
$host->{ports}{BLUE} = $blue->{ports}{PORT};
$host->app('green');
$host->write_config($host->blue_green, '', <<'CONF');
location / { proxy_pass http://app; keepalive_requests 1000000; }
        location /poolwatch/ { poolwatch_status; keepalive_requests 1000000; }
        location /worker { return 200 $pid; keepalive_requests 1000000; }
CONF
$host->crash_points;
$host->start;

my $base = "http://127.0.0.1:$host->{ports}{PORT}";
my $ask  = sub { my ($client, $path) = @_; return $client->get("$base$path")->{content} };
my %client = $host->worker_clients(2);
my $counted = sub {
    my ($client) = @_;
    my $state = decode_json($ask->($client, '/poolwatch/api/v1/state'));
    return (map { $_->{release} => $_->{requests} } map { @{ $_->{releases} } } @{ $state->{upstreams} });
};
my $lost = sub { my ($client) = @_; return $ask->($client, '/poolwatch/metrics') =~ /^poolwatch_observations_dropped_total (\d+)/m ? $1 : die };

# An observer takes the lock a few times more after the last request.
my $requests = grep { $ask->($_, '/one') eq 'ok' } values %client;
$host->write_file('crash/lock-held.stop', '');
my $stands = sub { my ($pid) = @_; open my $stat, '<', "/proc/$pid/stat" or return; return <$stat> =~ /\) T / };
my ($stopped) = Poolwatch::wait_until(sub { (grep { $stands->($_) } keys %client)[0] }, 'a worker to stand still', 10);
my ($running) = grep { $_ ne $stopped } keys %client;
my $client = $client{$running};

my $failed = 0;
my $load   = sub { my $good = grep { $ask->($client, '/one') eq 'ok' } 1 .. 500; $requests += $good; $failed += 500 - $good; return $lost->($client) > 0 };
Poolwatch::wait_until($load, 'observations to be lost', 60);
is($failed, 0, 'each request was answered');
my $before = $lost->($client);
is($ask->($client, '/two'), 'ok', 'so was the first one of a new release');
Poolwatch::wait_until(sub { $lost->($client) == $before + 1 }, 'it to be counted as lost');

# And so does the page: the others do not watch either.
my $watching = sub { return $ask->($client, '/poolwatch/metrics') =~ /^poolwatch_workers_watching (\d+)/m ? $1 : die };
Poolwatch::wait_until(sub { $watching->() == 0 }, 'the metrics to say so');
like($ask->($client, '/poolwatch/'), qr/2 of 2 workers do not watch: process $stopped has held the lock of the zone for \d+ s\./, 'the page says why');

kill 'CONT', $stopped;
Poolwatch::wait_until(sub { $watching->() == 2 }, 'both to watch again');
my $observed = $requests - $before;
Poolwatch::wait_until(sub { my %now = $counted->($client); ($now{one} // 0) == $observed }, 'all that was not lost to be counted', 30);
$ask->($client, '/two') for 1 .. 7;
Poolwatch::wait_until(sub { my %now = $counted->($client); ($now{two} // 0) == 7 && $now{one} == $observed }, 'the new release to be counted, by its name');
Poolwatch::wait_until(sub { $host->error_log =~ /requests were not observed/ }, 'the line about what was lost');
$host->allow(qr/\[warn\].* requests were not observed/);
$_->finish for $host, $blue;
done_testing;
