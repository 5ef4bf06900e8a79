# Every address is watched, and keeps its pool: the longest sockets, many servers, one templated server, servers that are down.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use IO::Socket::INET;
use IO::Socket::UNIX;
use Poolwatch;
use Test::More;

# What an upstream's document says of its pools, by their names.
sub pools { my ($host) = @_; return { map { $_->{name} => $_ } @{ upstream($host)->{pools} } } }

sub upstream { my ($host) = @_; return $host->api('state')->{upstreams}[0] }

# Answers all requests of a listener, each on a connection of its own.
sub serve {
    my ($host, $name, $listener, $header) = @_;
    $header //= '';
    $host->fork_server($name, sub {
        while (my $client = $listener->accept) {
            while (my $line = <$client>) { last if $line eq "\r\n" }
            print $client "HTTP/1.1 200 OK\r\nConnection: close\r\n${header}Content-Length: 2\r\n\r\nok";
        }
    });
    close $listener;
}

# Workers report their requests when they come to it, and a reload is no reason to hurry.
sub wait_for { my ($host, $pool) = @_; return Poolwatch::wait_until(sub { (upstream($host)->{serving}{pool} // '') eq $pool }, "$pool to serve") }

# A path with the 107 bytes that nginx and the kernel allow; two differ in their last byte only.
sub longest_path { my ($host, $end) = @_; return "$host->{prefix}/" . 'x' x (106 - length "$host->{prefix}/") . $end }

for my $named (0, 1) {
    subtest('the longest sockets ' . ($named ? 'with poolwatch_pool' : 'by their roles'), sub {
        my $host = Poolwatch->new(workers => 1);
        $host->slack;
        my %path = map { $_ => longest_path($host, substr $_, 0, 1) } qw(blue green);
        is(length $path{blue}, 107, 'the longest');
        for my $pool (qw(blue green)) {
            serve($host, $pool, IO::Socket::UNIX->new(Local => $path{$pool}, Listen => 64) // die $!);
            chmod 0777, $path{$pool};
        }
        my @names = $named ? qw(blue green) : qw(primary backup);
        my $pools = $named ? "poolwatch_pool blue unix:$path{blue}; poolwatch_pool green unix:$path{green};" : '';
        my $servers = "server unix:$path{blue} max_fails=1 fail_timeout=1s; server unix:$path{green} backup;";
        $host->write_config("upstream app { zone app 128k; $servers poolwatch on; poolwatch_error_rate off; $pools }", $host->receiver,
            'location / { proxy_pass http://app; } location /poolwatch/ { poolwatch_status; }');
        my (undef, $text) = $host->test_config;
        unlike($text, qr/no room/, 'nginx -t has nothing to say');
        $host->start;
        $host->get_many(10);
        $host->stop('blue');
        $host->get_many(10);
        my ($message) = $host->messages(1, 10);
        like($message->{body}{text}, qr/Failover on "app": $names[0] → $names[1]/, 'told');
        like($message->{raw}, qr/`unix:\Q$path{$_}\E`/, "with $_\'s whole address") for qw(blue green);
        like($message->{raw}, qr/from unix:\Q$path{blue}\E, unix:\Q$path{green}\E in/, 'and in the example');
        # Workers report their requests when they come to it.
        Poolwatch::wait_until(sub { pools($host)->{ $names[1] }{attempts}{ok} == 10 }, 'all requests to be counted');
        my $is = pools($host);
        my ($blue, $green) = map { $is->{$_} } @names;
        is_deeply([ map { $_->{peers}[0]{address} } $blue, $green ], [ map { "unix:$path{$_}" } qw(blue green) ], 'and in the status');
        is($blue->{attempts}{ok}, 10, 'each attempt is counted');
        is($blue->{peers}[0]{attempts}, 10 + $blue->{attempts}{refused}, 'and for its peer');
        $host->finish;
    });
}

subtest('a hundred servers', sub {
    my $host = Poolwatch->new;
    $host->slack;
    my $listener = IO::Socket::INET->new(LocalAddr => '0.0.0.0', Listen => 256, ReuseAddr => 1) // die $!;
    my $port = $listener->sockport;
    serve($host, 'many', $listener);
    my $dead = Poolwatch::free_port();
    my @reserve = map { "127.0.1.$_:$port" } 1 .. 99;
    my $servers = join ' ', (map { "server $_ backup;" } @reserve), "server 127.0.1.100:$dead max_fails=1 fail_timeout=60s;";
    my $pools = "poolwatch_pool green @reserve; poolwatch_pool blue 127.0.1.100:$dead;";
    my $watch = sub {
        $host->write_config("upstream app { zone app 512k; $servers poolwatch on; poolwatch_error_rate off; $pools }", $host->receiver,
            'location / { proxy_pass http://app; } location /poolwatch/ { poolwatch_status; }');
    };
    $watch->();
    my (undef, $text) = $host->test_config;
    unlike($text, qr/no room/, 'nginx -t has nothing to say');
    $host->start;
    $host->get_many(1);
    my ($message) = $host->messages(1, 10);
    like($message->{body}{text}, qr/now green|blue → green/, 'the server with the number 100 has been given up, which is known at once') or diag $message->{raw};
    $host->get_many(400);
    Poolwatch::wait_until(sub { pools($host)->{green}{attempts}{ok} == 401 }, 'no attempt to be missing');
    my $is = pools($host);
    is(scalar @{ $is->{green}{peers} }, 99, 'all peers');
    is_deeply([ grep { !$_->{attempts} } @{ $is->{green}{peers} } ], [], 'each of which was asked');
    $host->finish;
});

subtest('more than can be told apart', sub {
    my $host = Poolwatch->new;
    my $servers = join ' ', map { sprintf 'server 127.0.%d.%d:8081;', $_ / 250 + 1, $_ % 250 + 1 } 0 .. 299;
    $host->write_config("upstream app { $servers\npoolwatch on;\n}");
    my ($status, $text) = $host->test_config;
    is($status, 0, 'accepted');
    like($text, qr/\[warn\] no room for 44 of the 300 addresses of upstream "app", attempts at them count for no pool: "127\.0\.2\.7:8081", .* in .*:\d+$/m,
        'with a warning that names them');
    $host->finish;
});

for my $restarts (0, 1) {
    subtest('one templated server: blue, green, and a dead blue after ' . ($restarts ? 'a restart' : 'a reload'), sub {
        my $host = Poolwatch->with_pools;
        my $switch = sub {
            my ($pool) = @_;
            $host->write_config("upstream app { zone app 64k; server 127.0.0.1:$pool; poolwatch on; poolwatch_error_rate off; }",
                join("\n", $host->receiver, 'poolwatch_zone watch state=watch.state;'),
                'location / { proxy_pass http://app; } location /poolwatch/ { poolwatch_status; }');
        };
        my %port = map { lc $_ => $host->{ports}{$_} } qw(BLUE GREEN);
        $switch->('%%BLUE%%');
        $host->start;
        $host->get_many(10);
        wait_for($host, 'blue');
        $switch->('%%GREEN%%');
        $host->reload;
        # What was asked before a worker knows of the switch proves nothing, so one request more may be needed.
        $host->get_until(sub { $host->messages(0, 0) }, 'the switch to be told', 30, '/', 0.02);
        my ($message) = $host->messages(0);
        like($message->{body}{text}, qr/Planned switch on "app": blue → green/, 'the switch is told');
        $host->stop('blue');
        $switch->('%%BLUE%%');
        if ($restarts) { $host->quit; $host->start }
        else           { $host->reload }
        $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the outage to be told', 20, '/', 0.02);
        $message = ($host->messages(0))[1];
        like($message->{body}{text}, qr/Outage on "app"/, 'an outage');
        like($message->{raw}, qr/Should serve[^}]*blue`[^}]*127\.0\.0\.1:$port{blue}/, 'of blue at its address');
        unlike($message->{raw}, qr/green`[^}]*127\.0\.0\.1:$port{blue}/, 'which is not green\'s');
        my $is;
        Poolwatch::wait_until(sub { $is = pools($host); $is->{blue}{attempts}{refused} }, 'blue\'s failed attempts');
        is($is->{green}{attempts}{refused}, 0, 'green\'s did not');
        is_deeply([ map { $_->{address} } @{ $is->{blue}{peers} } ], [ "127.0.0.1:$port{blue}" ], 'blue has its address back');
        $host->finish;
    });
}

subtest('one templated server: a dead one that nobody knows', sub {
    my $host = Poolwatch->with_pools;
    my $switch = sub {
        $host->write_config("upstream app { zone app 64k; server 127.0.0.1:$_[0]; poolwatch on; poolwatch_error_rate off; }", $host->receiver,
            'location / { proxy_pass http://app; } location /poolwatch/ { poolwatch_status; }');
    };
    $switch->('%%BLUE%%');
    $host->start;
    $host->get_many(10);
    wait_for($host, 'blue');
    my $third = Poolwatch::free_port();
    $switch->($third);
    $host->reload;
    $host->get_until(sub { $host->messages(0, 0) }, 'the outage to be told', 20, '/', 0.02);
    my ($message) = $host->messages(0);
    like($message->{raw}, qr/Should serve[^}]*pool not known yet[^}]*127\.0\.0\.1:$third/, 'told by its address');
    like($host->error_log, qr/primary \(127\.0\.0\.1:$third, pool not known yet\) should serve, last served by blue \(127\.0\.0\.1:$host->{ports}{BLUE}\)/, 'in the log too');
    # Each worker shows a copy of its own for a moment.
    my ($is, $unknown);
    Poolwatch::wait_until(sub { $is = pools($host); ($unknown) = grep { $_->{expected} && $_->{attempts}{refused} } values %$is }, 'its attempts');
    is($is->{blue}{attempts}{refused}, 0, 'nobody blames blue');
    is_deeply([ @$unknown{qw(named_by)}, map { @$_{qw(address pool_from)} } @{ $unknown->{peers} } ],
        [ 'unknown', "127.0.0.1:$third", 'unknown' ], 'the status says that nobody knows it');
    $host->{ports}{GREEN} = $third;
    $host->stop('green');
    $host->app('green');
    $host->get_until(sub { (upstream($host)->{expected_pool} // '') eq 'green' }, 'its first answer to name it', 20, '/', 0.02);
    $host->finish;
});

for my $named (0, 1) {
    subtest('down moves from one server to the other, ' . ($named ? 'with poolwatch_pool' : 'by the header'), sub {
        my $host = Poolwatch->with_pools;
        my $switch = sub {
            my %down = ($_[0] => 'down');
            $down{$_} //= '' for qw(BLUE GREEN);
            my $servers = join ' ', map { "server 127.0.0.1:%%$_%% $down{$_};" } qw(BLUE GREEN);
            my $pools = $named ? 'poolwatch_pool blue 127.0.0.1:%%BLUE%%; poolwatch_pool green 127.0.0.1:%%GREEN%%;' : '';
            $host->write_config("upstream app { zone app 64k; $servers poolwatch on; poolwatch_error_rate off; $pools }", $host->receiver,
                'location / { proxy_pass http://app; } location /poolwatch/ { poolwatch_status; }');
        };
        $switch->('GREEN');
        $host->start;
        $host->get_many(10);
        wait_for($host, 'blue');
        Poolwatch::wait_until(sub { (upstream($host)->{expected_pool} // '') eq 'blue' }, 'blue to be expected, and alone');
        $switch->('BLUE');
        $host->reload;
        $host->get_until(sub { $host->messages(0, 0) }, 'the switch to be told', 30, '/', 0.02);
        my ($message) = $host->messages(0);
        like($message->{body}{text}, qr/Planned switch on "app": blue → green/, 'told as what it is');
        Poolwatch::wait_until(sub { (upstream($host)->{expected_pool} // '') eq 'green' }, 'green to be expected');
        my $is = pools($host);
        is_deeply([ map { $is->{$_}{peers}[0]{down} ? 1 : 0 } qw(blue green) ], [ 1, 0 ], 'the status says who is down');
        $host->finish;
    });
}

# Both containers say the other one's name: their addresses were exchanged, or poolwatch_pool has them the wrong way round.
subtest('a header that contradicts poolwatch_pool', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    $host->configure('poolwatch_error_rate off; poolwatch_pool blue 127.0.0.1:%%GREEN%%; poolwatch_pool green 127.0.0.1:%%BLUE%%;',
        'access_log logs/access.log;', 'location / { proxy_pass http://app; } location /poolwatch/ { poolwatch_status; }');
    $host->start;
    $host->get_many(50);
    my $port = $host->{ports}{BLUE};
    Poolwatch::wait_until(sub { pools($host)->{green}{peers}[0]{header_says} }, 'the status to say it');
    is(pools($host)->{green}{peers}[0]{header_says}, 'blue', 'the status says what the header says');
    like($host->get('/poolwatch/')->{content}, qr/header says <bdi>blue/, 'and so does the page');
    $host->stop('blue');
    $host->get_many(5);
    $host->app('blue');
    $host->reload;
    $host->get_many(50);
    my $line = qr/\[warn\] .*"poolwatch_pool" puts 127\.0\.0\.1:$port of upstream "app" into pool "green", but its header says "blue"/;
    my @lines = grep { $_ =~ $line } split /\n/, $host->error_log;
    is(scalar @lines, 1, 'one line, whatever the workers and reloads') or diag $host->error_log;
    $host->finish;
});

done_testing;
