# Servers that nginx resolves at run time (`resolve`): their addresses are shown, and are in their servers' pools.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use IO::Socket::INET;
use Poolwatch;
use Test::More;

Poolwatch::skip_below('1.27.3', 'servers of an upstream block that are resolved at run time');

sub upstream { my ($host) = @_; return $host->api('state')->{upstreams}[0] }
sub pools    { my ($host) = @_; return { map { $_->{name} => $_ } @{ upstream($host)->{pools} } } }

# The peer with this address, wherever it is.
sub peer {
    my ($host, $address) = @_;
    my ($peer) = grep { $_->{address} eq $address } map { @{ $_->{peers} } } @{ upstream($host)->{pools} };
    return $peer;
}

# A name server: answers each question for an address with the one in the file "dns", and there is no other.
sub name_server {
    my ($host) = @_;
    my $socket = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1:0') or die $!;
    my $port = $socket->sockport;
    $host->fork_server('dns', sub {
        while (defined(my $from = $socket->recv(my $query, 512))) {
            my ($id) = unpack 'n', $query;
            my $question = substr $query, 12;
            my $end = index($question, "\0") + 1;
            my ($type) = unpack 'n', substr $question, $end, 2;
            my $name = '';
            for (my $at = 0; my $length = ord substr $question, $at, 1; $at += $length + 1) { $name .= substr($question, $at + 1, $length) . '.' }
            open my $file, '<', "$host->{prefix}/dns" or next;
            my %address = map { split ' ' } <$file>;
            my $address = $type == 1 ? $address{$name} : undef;
            my $answer = $address ? pack('n n n N n a4', 0xc00c, 1, 1, 1, 4, IO::Socket::INET::inet_aton($address)) : '';
            $socket->send(pack('n n n n n n', $id, 0x8180, 1, $address ? 1 : 0, 0, 0) . substr($question, 0, $end + 4) . $answer, 0, $from);
        }
    });
    return $port;
}

for my $named (0, 1) {
    subtest('a failover, ' . ($named ? 'with poolwatch_pool' : 'by the header'), sub {
        my $host = Poolwatch->with_pools(workers => 2);
        $host->write_file('dns', "blue.test. 127.0.0.1\ngreen.test. 127.0.0.1\n");
        my $dns = name_server($host);
        my $pools = $named ? 'poolwatch_pool blue blue.test:%%BLUE%%; poolwatch_pool green green.test:%%GREEN%%;' : '';
        $host->write_config(<<"CONF", join("\n", $host->receiver, "resolver 127.0.0.1:$dns valid=1s ipv6=off;"), <<'SERVER');
            upstream app {
                zone app 256k;
                server blue.test:%%BLUE%% resolve max_fails=1 fail_timeout=1s;
                server green.test:%%GREEN%% resolve backup;
                poolwatch on; poolwatch_error_rate off; $pools
            }
CONF
            location / { proxy_pass http://app; } location /poolwatch/ { poolwatch_status; }
SERVER
        $host->start;
        my %address = map { $_ => "127.0.0.1:$host->{ports}{$_}" } qw(BLUE GREEN);
        $host->get_until(sub { peer($host, $address{BLUE}) }, 'nginx to resolve the servers', 20, '/', 0.02);
        $host->get_until(sub { (upstream($host)->{serving}{pool} // '') eq 'blue' }, 'blue to serve', 20, '/', 0.02);
        is(upstream($host)->{expected_pool}, 'blue', 'which is expected');
        $host->stop('blue');
        $host->get_until(sub { $host->messages(0, 0) }, 'the failover to be told', 20, '/', 0.02);
        my ($message) = $host->messages(0);
        like($message->{body}{text}, qr/Failover on "app": blue → green/, 'told');
        like($message->{raw}, qr/from $address{BLUE}, $address{GREEN} in/, 'with the addresses in the example');
        like($host->error_log, qr/: blue \(blue\.test:\d+\) -> green \(green\.test:\d+\)/, 'the servers are called as they are written');
        Poolwatch::wait_until(sub { pools($host)->{green}{attempts}{ok} }, 'green\'s attempts to be counted');
        my $is = pools($host);
        cmp_ok($is->{blue}{attempts}{refused}, '>', 0, 'blue\'s failed attempts are in its pool');
        is(peer($host, $address{BLUE})->{failures}, $is->{blue}{attempts}{refused}, 'and at its address');
        is(peer($host, $address{GREEN})->{role}, 'backup', 'with its server\'s role');
        is_deeply([ grep { $_->{address} eq '' } map { @{ $_->{peers} } } values %$is ], [], 'each peer has an address');
        my ($unknown) = $host->get('/poolwatch/metrics')->{content} =~ /^poolwatch_attempts_total\{upstream="app",pool="",result="refused"\} (\d+)/m;
        is($unknown, 0, 'none is in no pool');
        $host->app('blue');
        $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the recovery to be told', 30, '/', 0.02);
        like(($host->messages(0))[1]{body}{text}, qr/Recovery on "app": green → blue/, 'and the way back');
        $host->finish;
    });
}

subtest('an address that moves', sub {
    my $host = Poolwatch->with_pools(workers => 1);
    $host->write_file('dns', "app.test. 127.0.0.1\n");
    my $dns = name_server($host);
    $host->write_config(<<'CONF', join("\n", $host->receiver, "resolver 127.0.0.1:$dns valid=1s ipv6=off;"), <<'SERVER');
        upstream app { zone app 256k; server app.test:%%BLUE%% resolve; poolwatch on; poolwatch_error_rate off; }
CONF
        location / { proxy_pass http://app; } location /poolwatch/ { poolwatch_status; }
SERVER
    $host->start;
    my $port = $host->{ports}{BLUE};
    $host->get_until(sub { peer($host, "127.0.0.1:$port") }, 'the first address', 20, '/', 0.02);
    $host->stop('blue');
    $host->app('blue', HOST => '127.0.0.77', PORT => $port);
    $host->write_file('dns', "app.test. 127.0.0.77\n");
    $host->get_until(sub { peer($host, "127.0.0.77:$port") }, 'the second address', 20, '/', 0.02);
    $host->get_many(20);
    Poolwatch::wait_until(sub { peer($host, "127.0.0.77:$port")->{attempts} >= 20 }, 'its attempts to be counted');
    is(scalar keys %{ pools($host) }, 1, 'both are in the server\'s pool');
    $host->finish;
});

done_testing;
