# Reload in the middle of an incident, graceful exit, a killed worker: the state is kept, no alert is repeated, none is lost.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;

subtest('a reload keeps state, window and what was told', sub {
    my $host = Poolwatch->with_pools(workers => 3);
    $host->watch('poolwatch_error_rate off;');
    $host->get_many(20);
    $host->stop('blue');
    $host->get_until(sub { $host->messages(0, 0) }, 'the failover alert', 10);
    for (1 .. 5) {
        $host->reload;
        is_deeply($host->get_many(20), { 200 => 20 }, "requests after reload $_");
    }
    is(scalar $host->messages(0), 1, 'the failover is not told again');
    $host->app('blue');
    $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the recovery alert', 30, '/', 0.02);
    $host->reload;
    $host->get_many(20);
    is(scalar $host->messages(0), 2, 'and the recovery once');
    $host->finish;
});

subtest('an alert that could not be sent before the reload is sent after it', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    $host->slack_mode(mode => 'hang');
    $host->watch('poolwatch_error_rate off;');
    $host->get_many(20);
    $host->stop('blue');
    $host->get_until(sub { $host->captured('count=0') }, 'the courier to be stuck', 10);
    my $begin = Time::HiRes::time();
    $host->reload;
    cmp_ok(Time::HiRes::time() - $begin, '<', 5, 'the old workers did not wait for the receiver');
    $host->slack_mode(mode => 'ok');
    my @messages = $host->messages(1, 60);
    like($messages[0]{body}{text}, qr/Failover/, 'told by another worker');
    $host->get_many(20);
    is(scalar $host->messages(0), 1, 'once');
    $host->finish;
});

subtest('changed rules take effect, the state stays', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    my $conf = sub { $host->configure("poolwatch_failover off; poolwatch_error_rate $_[0];") };
    $conf->('50% window=20 of=client');
    $host->start;
    $host->get_many(4, '/status/404');
    $host->chaos($_, 'error') for qw(blue green);
    # 500 of both: six of the twenty are a client error.
    is_deeply($host->get_many(6), { 500 => 1, 502 => 5 }, 'six requests fail') or diag explain $host->error_log;
    is(scalar $host->messages(0), 0, 'below half of the window nothing is told');
    $conf->('20% window=20 of=client');
    $host->reload;
    $host->chaos($_) for qw(blue green);
    $host->get('/');
    my ($message) = $host->messages(1, 10);
    like($message->{body}{text}, qr/error rate/i, 'the window is kept and judged by the new threshold');
    $host->finish;
});

subtest('a killed worker loses nothing that is owed', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    $host->slack_mode(mode => 'hang');
    $host->watch('poolwatch_error_rate off;');
    $host->get_many(20);
    $host->stop('blue');
    $host->get_until(sub { $host->captured('count=0') }, 'a courier to be stuck', 10);
    kill 'KILL', $_ for $host->workers;
    $host->slack_mode(mode => 'ok');
    Poolwatch::wait_until(sub { $host->workers == 2 }, 'new workers', 10);
    my @messages = $host->messages(1, 30);
    like($messages[0]{body}{text}, qr/Failover/, 'told by a new worker');
    $host->allow(qr/exited on signal 9/);
    $host->finish;
});

subtest('quit with an alert on its way', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    $host->watch('poolwatch_error_rate off;');
    $host->get_many(20);
    $host->stop('blue');
    is($host->get('/')->{status}, 200, 'green answers');
    $host->quit;
    is(scalar $host->messages(1), 1, 'the last worker still told it');
    $host->finish;
});

subtest('quit and stop with a hanging receiver', sub {
    for my $signal (qw(QUIT TERM)) {
        my $host = Poolwatch->with_pools(workers => 2);
        $host->slack_mode(mode => 'hang');
        $host->watch('poolwatch_error_rate off;');
        $host->get_many(20);
        $host->stop('blue');
        $host->get_until(sub { $host->captured('count=0') }, 'a courier to be stuck', 10);
        # The bound is nginx's own, which kills a worker that does not end.
        ok($host->quit($signal), "$signal ends nginx");
        unlike($host->error_log, qr/exited on signal 9/, 'and no worker had to be killed');
        $host->finish;
    }
});

subtest('an upstream that is removed in an incident is told as no longer watched', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    $host->watch('poolwatch_error_rate off;');
    $host->get_many(20);
    $host->stop('blue');
    $host->get_until(sub { $host->messages(0, 0) }, 'the failover alert', 10);
    (my $other = $host->blue_green) =~ s/\bapp\b/other/g;
    $host->write_config($other, $host->receiver, 'location / { proxy_pass http://other; }');
    $host->reload;
    my @titles = $host->titles(2, 20);
    like($titles[1], qr/"app" is no longer watched/, 'told');
    $host->reload;
    is(scalar $host->messages(0), 2, 'and once');
    $host->finish;
});

subtest('a changed expected pool is a planned switch', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    my $conf = sub {
        my ($primary, $backup) = @_;
        $host->write_config(<<"CONF", $host->receiver);
    upstream app {
        zone app 64k;
        server 127.0.0.1:%%$primary%%;
        server 127.0.0.1:%%$backup%% backup;
        poolwatch on;
    }
CONF
    };
    $conf->('BLUE', 'GREEN');
    $host->start;
    $host->get_many(20);
    $conf->('GREEN', 'BLUE');
    $host->reload;
    is_deeply($host->get_many(20), { 200 => 20 }, 'no request is lost');
    my ($message) = $host->messages(1, 10);
    like($message->{body}{text}, qr/planned switch/i, 'told as planned, not as a failover (D29)');
    $host->get_many(50);
    is(scalar $host->messages(0), 1, 'and once');
    $host->finish;
});

subtest('a reload loads a module that is new to nginx and replaces none, an upgrade of the binary does', sub {
    my $host = Poolwatch->new(workers => 1, daemon => 1);
    my $file = "$host->{prefix}/module.so";
    my $put = sub { system('install', '-m', '644', Poolwatch::module(), "$file.new") == 0 && rename "$file.new", $file or die "module: $!" };
    my $loaded = sub {
        open my $maps, '<', "/proc/$host->{master}/maps" or die $!;
        my %seen = map { /\Q$file\E( \(deleted\))?$/ ? (($1 ? 'replaced' : 'current') => 1) : () } <$maps>;
        return join ' ', keys %seen;
    };
    $host->app('blue');
    my $configure = sub {
        my ($load, $server) = @_;
        local $ENV{POOLWATCH_MODULE} = $file;
        $host->write_config('    upstream app { server 127.0.0.1:%%BLUE%%; }', '', $server);
        open my $conf, '<', "$host->{prefix}/nginx.conf" or die $!;
        my $text = do { local $/; <$conf> };
        $host->write_file('nginx.conf', $load ? $text : $text =~ s/^load_module.*//mr);
    };
    $configure->(0, 'location / { proxy_pass http://app; }');
    $put->();
    $host->start;
    is($loaded->(), '', 'without it');
    $configure->(1, 'location /poolwatch/ { poolwatch_status; }');
    $host->reload;
    is($loaded->(), 'current', 'a reload loads it');
    is($host->get('/poolwatch/metrics')->{status}, 200, 'and it answers');
    $put->();
    $host->reload;
    is($loaded->(), 'replaced', 'of another file in its place a reload knows nothing');
    is($host->get('/poolwatch/metrics')->{status}, 200, 'the old code answers');
    my $old = $host->upgrade;
    is($loaded->(), 'current', 'the new master has the new file');
    $host->end_master($old, 'QUIT');
    is($host->get('/poolwatch/metrics')->{status}, 200, 'and answers');
    $host->finish;
});

done_testing;
