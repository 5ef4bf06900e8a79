# A reload without a master process, which nginx itself only half knows: it goes on with the connections that it has, and so does the
# watch. Nothing crashes, whatever the new configuration makes of the zone, and nothing is told of the wrong upstream.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use HTTP::Tiny;
use JSON::PP qw(decode_json);
use POSIX qw(WNOHANG);
use Poolwatch;
use Test::More;

my $host = Poolwatch->with_pools;
$host->slack_mode(mode => 'refuse', status => 503);
my $server = 'location / { proxy_pass http://%s; } location /poolwatch/ { poolwatch_status; } location /worker { return 200 %s; }';
my $pid;

sub configure {
    my ($name, $zone, $http) = @_;
    my $upstream = $host->blue_green('poolwatch_error_rate off;') =~ s/upstream app/upstream $name/r;
    $upstream =~ s/poolwatch.*?;//g if !defined $zone;
    my $receiver = defined $zone ? $host->receiver : '';
    my $location = sprintf $server, $name, $name;
    $location =~ s/poolwatch_status;/return 204;/ if !defined $zone;
    $host->write_config($upstream, "$receiver\n" . ($zone // ''), $location);
}

configure('app', 'poolwatch_zone poolwatch 1m;');
$pid = $host->spawn('single', {}, undef, $host->command('-g', 'daemon off; master_process off;'));
Poolwatch::wait_until(sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $host->{ports}{PORT}) }, 'nginx to listen');

# nginx takes no new connections after a reload.
my $base = "http://127.0.0.1:$host->{ports}{PORT}";
my $kept = HTTP::Tiny->new(timeout => 10, keep_alive => 1);
my $ask  = sub { my ($path) = @_; return $kept->get("$base$path") };
my $seen = sub { return { map { $_->{name} => $_->{requests}{served} + $_->{requests}{masked_failover} } @{ decode_json($ask->('/poolwatch/api/v1/state')->{content})->{upstreams} } } };
$ask->('/') for 1 .. 20;
$host->stop('blue');
Poolwatch::wait_until(sub { $ask->('/'); (decode_json($ask->('/poolwatch/api/v1/state')->{content})->{upstreams}[0]{serving}{pool} // '') eq 'green' }, 'the failover to be seen');
Poolwatch::wait_until(sub { $host->captured('count=0') }, 'a message in vain');
Poolwatch::wait_until(sub { my $now = $seen->()->{app}; sleep 1; $now == $seen->()->{app} }, 'all requests to be counted');
my $before = $seen->();
is_deeply([ keys %$before ], ['app'], 'one upstream is watched');

my @configurations = (
    [ 'another size', 'app', 'poolwatch_zone poolwatch 2m;' ],
    [ 'another name', 'app', 'poolwatch_zone other 2m;' ],
    [ 'another upstream', 'other', 'poolwatch_zone poolwatch 1m;' ],
    [ 'the same again', 'app', 'poolwatch_zone poolwatch 1m;' ],
    [ 'nothing watched', 'app', undef ],
);
for my $configuration (@configurations) {
    my ($what, $name, $zone) = @$configuration;
    configure($name, $zone);
    my $reloads = sub { return scalar(() = $host->error_log =~ /a reload without a master process changes nothing that is watched/g) };
    my $count = $reloads->();
    kill 'HUP', $pid;
    Poolwatch::wait_until(sub { $reloads->() > $count }, 'the reload, and the line about it');
    # Threads look at the zone as well.
    Poolwatch::wait_until(sub { waitpid($pid, WNOHANG) || $ask->('/poolwatch/api/v1/state')->{status} == 200 }, 'an answer');
    is($ask->('/worker')->{content}, 'app', "$what: the connection is served as before");
    is_deeply($seen->(), $before, 'the state is what it was');
    is(waitpid($pid, WNOHANG), 0, 'nginx lives') or last;
}

# Without a request: nginx cannot connect to servers any more.
$host->slack_mode(mode => 'ok');
my ($title) = $host->titles(1, 70);
like($title, qr/Failover on "app": blue → green/, 'what is owed is told');
kill 'QUIT', $pid;
Poolwatch::wait_until(sub { waitpid $pid, WNOHANG }, 'nginx to end');
is($?, 0, 'as it should');
delete $host->{pids}{$pid};
$host->finish;
done_testing;
