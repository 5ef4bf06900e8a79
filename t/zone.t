# A zone without a size takes what the watched upstreams need, reload by reload, and keeps nginx from no configuration. An incident that
# is open meanwhile is told once, and so is its end, also that of an upstream which is gone.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;

# Blue of every upstream that is asked fails; green answers.
sub host {
    my $host = Poolwatch->with_pools(workers => 2);
    return $host;
}

# Upstreams of these names, each with a location of its own.
sub configure {
    my ($host, $zone, @names) = @_;
    my $upstream = sub {
        my ($name) = @_;
        return "upstream $name { zone $name 64k; server 127.0.0.1:%%BLUE%% max_fails=1 fail_timeout=1s; server 127.0.0.1:%%GREEN%% backup; }\n";
    };
    my $http = $host->receiver . "\npoolwatch on; poolwatch_error_rate off; poolwatch_cooldown 0;\n$zone";
    my $server = "location /poolwatch/ { poolwatch_status; }\n" . join '', map { "location /$_ { proxy_pass http://$_/; }\n" } @names;
    $host->write_config(join('', map { $upstream->($_) } @names), $http, $server);
}

sub module_of { my ($host) = @_; return $host->api('module') }
sub zone_of   { my ($host) = @_; return module_of($host)->{zone} }
sub named { my ($prefix, $count) = @_; return map { "$prefix$_" } 1 .. $count }

# A reload, and what has become of the zone.
sub reload {
    my ($host, $zone, $room, @names) = @_;
    my $before = () = $host->error_log =~ /carried over into a new zone/g;
    my ($old) = zone_of($host);
    configure($host, $zone, @names);
    $host->reload;
    my $new = zone_of($host);
    is_deeply([ @$new{qw(upstreams_used upstreams_max)} ], [ scalar @names, $room ], scalar(@names) . " upstreams in a zone for $room");
    my $carried = () = $host->error_log =~ /carried over into a new zone/g;
    is($carried - $before, $new->{upstreams_max} == $old->{upstreams_max} ? 0 : 1, 'which is new if its size is');
    is_deeply($host->get_many(20, "/$names[0]"), { 200 => 20 }, 'requests are served');
}

my $titles = sub { my ($host) = @_; return map { s/\..*//r } $host->titles(0, 0) };

subtest('the zone grows and shrinks with the configuration, in the middle of incidents', sub {
    my $host = host();
    configure($host, '', named('u', 15));
    $host->start;
    is(zone_of($host)->{upstreams_max}, 16, 'room for 16');
    is(module_of($host)->{configurations}, 1, 'one configuration was loaded');
    $host->get_many(20, '/u1');
    $host->stop('blue');
    $host->get_until(sub { $host->messages(0, 0) }, 'the failover of u1', 10, '/u1');
    reload($host, '', 16, named('u', 16));
    reload($host, '', 32, named('u', 17));
    reload($host, '', 160, named('u', 150));
    $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the failover of u149', 20, '/u149');
    reload($host, '', 16, named('u', 15));
    is(module_of($host)->{configurations}, 5, 'five of them, counted over all zones');
    $host->messages(3);
    $host->app('blue');
    $host->get_until(sub { $host->messages(0, 0) > 3 }, 'the recovery of u1', 30, '/u1', 0.02);
    my @told = $titles->($host);
    is(scalar @told, 4, 'nothing is told twice') or diag explain \@told;
    like($told[0], qr/Failover on "u1"/, 'a failover');
    like($told[1], qr/Failover on "u149"/, 'another one, of an upstream in the larger zone');
    like($told[2], qr/"u149" is no longer watched/, 'that this one is gone');
    like($told[3], qr/Recovery on "u1"/, 'and the end of the first');
    $host->finish;
});

for my $zone ('', 'poolwatch_zone poolwatch state=poolwatch.state;') {
    my $by = $zone ? 'a restart' : 'a reload';
    subtest("$by renames all upstreams: of those in an incident it is told that they are gone", sub {
        my $host = host();
        configure($host, $zone, named('blue', 16));
        $host->start;
        my @broken = named('blue', 3);
        $host->get_many(20, "/$_") for @broken;
        $host->stop('blue');
        for my $index (0 .. 2) {
            $host->get_until(sub { $host->messages(0, 0) > $index }, "the failover of $broken[$index]", 20, "/$broken[$index]");
        }
        if ($zone) {
            $host->quit;
            configure($host, $zone, named('green', 16));
            $host->start;
            is(zone_of($host)->{upstreams_max}, 32, 'their places beside the new ones');
            is(module_of($host)->{configurations}, 1, 'the first configuration of this start');
        } else {
            reload($host, $zone, 32, named('green', 16));
        }
        # An error rate may be told beside a failover, but that an upstream is gone is told once.
        my $gone = sub { grep { /no longer watched/ } map { s/ on \S+?\. .*//r } $host->titles(0) };
        Poolwatch::wait_until(sub { $gone->() >= 3 }, 'that they are gone', 20);
        is_deeply([ sort $gone->() ], [ map { qq{⏹️ "$_" is no longer watched, an incident of it was open} } @broken ], 'each once')
            or diag explain [$host->titles(0)];
        # Nothing is owed any more.
        reload($host, $zone, 16, named('green', 16));
        is(scalar($gone->()), 3, 'and not again');
        $host->finish;
    });
}

done_testing;
