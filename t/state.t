# What outlives nginx: restarts, a binary upgrade and its roll-back with poolwatch_zone's state file, and a zone of another size.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Cwd ();
use File::Copy qw(copy);
use IO::Socket::INET;
use Poolwatch;
use Test::More;

my $app = 'poolwatch_error_rate off; poolwatch_cooldown 0;';

sub zone { my ($size, $state) = @_; return "    poolwatch_zone poolwatch $size" . ($state ? " state=$state;" : ';') }

# A host in the middle of an incident that was told: blue is gone, green serves.
sub failed_over {
    my (%options) = @_;
    my $zone = delete $options{zone} // zone('1m', 'poolwatch.state');
    my $host = Poolwatch->with_pools(workers => 2, %options);
    $host->write_config($host->blue_green($app), $host->receiver . "\n$zone");
    $host->start;
    $host->get_many(20);
    $host->stop('blue');
    $host->get_until(sub { $host->messages(0, 0) }, 'the failover alert', 10);
    return $host;
}

sub state_file { my ($host) = @_; return "$host->{prefix}/poolwatch.state" }

# The text of the newest record.
sub record {
    my ($host) = @_;
    open my $file, '<:raw', state_file($host) or return '';
    my $bytes = do { local $/; <$file> };
    my ($newest, $text) = (-1, '');
    while ($bytes =~ /poolwst\0(....)(....)(........)..../gs) {
        my ($length, $sequence) = (unpack('V', $2), unpack('Q<', $3));
        ($newest, $text) = ($sequence, substr $bytes, pos $bytes, $length) if $sequence > $newest;
    }
    return $text;
}

# The receiver's account is in the file.
sub wait_for_record {
    my ($host, $pattern) = @_;
    Poolwatch::wait_until(sub { record($host) =~ $pattern }, "$pattern in the state file", 10);
}

sub restart {
    my ($host, $signal) = @_;
    $host->quit($signal);
    $host->start;
}

subtest('a restart in an incident repeats nothing and forgets nothing', sub {
    my $host = failed_over();
    for my $signal (qw(QUIT TERM)) {
        restart($host, $signal);
        is_deeply($host->get_many(30), { 200 => 30 }, "requests after $signal");
    }
    is(scalar $host->messages(0), 1, 'the failover is not told again');
    $host->app('blue');
    $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the recovery alert', 30, '/', 0.02);
    my @titles = $host->titles(2);
    like($titles[1], qr/Recovery on "app": green → blue/, 'its end is told');
    unlike($host->error_log, qr/\[warn\].*state/, 'nothing is wrong with the file');
    $host->finish;
});

subtest('all of nginx is killed: what was told is not told again', sub {
    my $host = failed_over();
    wait_for_record($host, qr/"acked":1/);
    my @workers = $host->workers;
    kill 'KILL', $host->{master}, @workers;
    waitpid $host->{master}, 0;
    delete $host->{pids}{ delete $host->{master} };
    Poolwatch::wait_until(sub { !grep { kill 0, $_ } @workers }, 'the workers to be gone', 10);
    $host->start;
    $host->get_many(30);
    is(scalar $host->messages(0), 1, 'once');
    $host->finish;
});

subtest('what could not be told before a restart is told after it', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    $host->slack_mode(mode => 'refuse', status => 503);
    $host->write_config($host->blue_green($app), $host->receiver . "\n" . zone('1m', 'poolwatch.state'));
    $host->start;
    $host->get_many(20);
    $host->stop('blue');
    $host->get_until(sub { $host->captured('count=0') }, 'a message in vain', 10);
    $host->quit;
    $host->slack_mode(mode => 'ok');
    $host->start;
    like(($host->titles(1, 20))[0], qr/Failover/, 'without a request');
    $host->finish;
});

subtest('an incident that is over when nginx comes back is told as over', sub {
    my $host = failed_over();
    $host->quit;
    $host->app('blue');
    $host->start;
    $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the recovery alert', 30, '/', 0.02);
    like(($host->titles(2))[1], qr/Recovery/, 'by the first traffic');
    $host->finish;
});

# Files that are not as they should be: nginx starts, says so once, and alerts go out.
my %broken = (
    'a truncated one'       => [ sub { truncate state_file($_[0]), 100 or die $! }, qr/holds no usable state, it begins anew/, 2 ],
    'one with flipped bits' => [
        sub {
            my ($host) = @_;
            open my $file, '+<:raw', state_file($host) or die $!;
            my $bytes = do { local $/; <$file> };
            $bytes =~ s/"acked"/"acjed"/g;
            seek $file, 0, 0;
            print $file $bytes;
            close $file;
        },
        qr/holds no usable state, it begins anew/, 2
    ],
    'an empty one' => [ sub { truncate state_file($_[0]), 0 or die $! }, undef, 2 ],
    'none at all'  => [ sub { unlink state_file($_[0]) }, undef, 2 ],
);
for my $name (sort keys %broken) {
    my ($break, $warning, $messages) = @{ $broken{$name} };
    subtest("instead of the state file: $name", sub {
        my $host = failed_over();
        $host->quit;
        $break->($host);
        $host->start;
        $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the failover alert', 10);
        my @warnings = grep { /\[warn\].*poolwatch\.state/ } split /\n/, $host->error_log;
        if ($warning) {
            is(scalar(grep { $_ =~ $warning } @warnings), 1, 'said once') or diag explain \@warnings;
        } else {
            is_deeply(\@warnings, [], 'which is how it begins');
        }
        $host->finish;
    });
}

subtest('one record broken, the other one holds', sub {
    my $host = failed_over();
    $host->quit;
    open my $file, '+<:raw', state_file($host) or die $!;
    my $bytes = do { local $/; <$file> };
    # The older of the two.
    my @records;
    while ($bytes =~ /poolwst\0........(........)/gs) { push @records, [ unpack('Q<', $1), $-[0] ] }
    my ($older) = sort { $a->[0] <=> $b->[0] } @records;
    seek $file, $older->[1] + 40, 0;
    print $file 'x';
    close $file;
    is(scalar @records, 2, 'two records');
    $host->start;
    $host->get_many(30);
    is(scalar $host->messages(0), 1, 'nothing is told again');
    $host->finish;
});

subtest('a path that cannot be right is refused, and a test of the configuration makes no file', sub {
    my $host = Poolwatch->with_pools;
    $host->allow(qr/\[emerg\].* open\(\)/);
    my $test = sub {
        $host->write_config($host->blue_green, $host->receiver . "\n" . zone('1m', $_[0]));
        return $host->test_config;
    };
    my ($status, $text) = $test->('no/such/folder/poolwatch.state');
    like($text, qr{\[emerg\].* open\(\) ".*/no/such/folder/poolwatch.state" failed \(2: No such file or directory\) in .*nginx.conf:\d+}, 'no folder');
    isnt($status, 0, 'refused');
    ($status, $text) = $test->('logs');
    like($text, qr{\[emerg\].* open\(\) ".*/logs" failed \(21: Is a directory\)}, 'a folder');
    ($status, $text) = $test->('poolwatch.state');
    is($status, 0, 'a new file is fine') or diag $text;
    ok(!-e state_file($host), 'and not made');
    $host->finish;
});

subtest('a larger zone takes the state over, and a smaller one', sub {
    for my $state ('', 'poolwatch.state') {
        my $host = failed_over(zone => zone('1m', $state));
        for my $size (qw(2m 256k)) {
            $host->write_config($host->blue_green($app), $host->receiver . "\n" . zone($size, $state));
            $host->reload;
            is_deeply($host->get_many(30), { 200 => 30 }, "requests with $size");
        }
        is(scalar $host->messages(0), 1, 'the failover is not told again');
        is(() = $host->error_log =~ /carried over into a new zone/g, 2, 'the log says what happened');
        $host->app('blue');
        $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the recovery alert', 30, '/', 0.02);
        like(($host->titles(2))[1], qr/Recovery on "app": green → blue/, 'and its end is told');
        $host->finish;
    }
});

subtest('a module from another file takes the state over from the one before', sub {
    my $host = failed_over(zone => zone('1m'));
    my $other = "$host->{prefix}/other.so";
    copy(Poolwatch::module(), $other) or die $!;
    {
        local $ENV{POOLWATCH_MODULE} = $other;
        $host->write_config($host->blue_green($app), $host->receiver . "\n" . zone('1m'));
    }
    $host->reload;
    is_deeply($host->get_many(30), { 200 => 30 }, 'requests');
    is(scalar $host->messages(0), 1, 'the failover is not told again');
    like($host->error_log, qr/the state is carried over/, 'the log says what happened');
    $host->app('blue');
    $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the recovery alert', 30, '/', 0.02);
    like(($host->titles(2))[1], qr/Recovery/, 'and its end is told');
    $host->finish;
});

# The module with crash points counts as another version: its table has another layout.
my $version = $ENV{POOLWATCH_CRASH_MODULE} // 'target/ngx_http_poolwatch_module_crashpoints.so';
for my $state ('', 'poolwatch.state') {
    subtest('a module of another layout, ' . ($state ? 'with' : 'without') . ' a state file', sub {
        plan skip_all => "no $version, see tools/test" if !-e $version;
        my $host = failed_over(zone => zone('1m', $state));
        wait_for_record($host, qr/"acked":1/) if $state;
        {
            local $ENV{POOLWATCH_MODULE} = Cwd::abs_path($version);
            $host->write_config($host->blue_green($app), $host->receiver . "\n" . zone('1m', $state));
        }
        $host->reload;
        like($host->error_log, qr/layout is another version's, its state is not carried over/, 'the log says what happened');
        if ($state) {
            is_deeply($host->get_many(30), { 200 => 30 }, 'requests');
            is(scalar $host->messages(0), 1, 'the file knows what was told');
        } else {
            my $again = $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the failover alert', 10);
            is_deeply([ keys %$again ], [200], 'it begins anew, and requests go on');
        }
        $host->finish;
    });
}

# File systems that do not let anything be kept: nginx starts, says so once, and alerts go out. They are mounted for this nginx alone.
my %disks = (
    'a full disk'      => [ 'size=16k', qr/posix_fallocate\(\) ".*" failed \(28: No space left on device\)/ ],
    'a read-only disk' => [ 'ro', qr/open\(\) ".*" failed \(30: Read-only file system\)/ ],
);
for my $disk (sort keys %disks) {
    my ($options, $warning) = @{ $disks{$disk} };
    subtest("the state file is on $disk", sub {
        my $mount = sub { qq{mount -t tmpfs -o $options none "$_[0]" && exec "\$@"} };
        my $host = Poolwatch->new(workers => 2);
        mkdir "$host->{prefix}/disk";
        my @under = ('unshare', '-m', 'sh', '-c', $mount->("$host->{prefix}/disk"), 'sh');
        plan skip_all => 'mounting is not allowed here' if system(@under, 'true') != 0;
        $host->{under} = \@under;
        $host->app($_) for qw(blue green);
        $host->slack;
        $host->write_config($host->blue_green($app), $host->receiver . "\n" . zone('1m', 'disk/poolwatch.state'));
        $host->start;
        $host->get_many(20);
        $host->stop('blue');
        $host->get_until(sub { $host->messages(0, 0) }, 'the failover alert', 10);
        # What the master says before it has read where error_log is goes to stderr.
        open my $stderr, '<', "$host->{prefix}/logs/nginx.err";
        my %warnings = map { $_ => 1 } grep { /\[warn\].*poolwatch\.state/ } <$stderr>, split /(?<=\n)/, $host->error_log;
        my @said = map { s/^\S+ \S+ \[warn\] \S+ |^nginx: \[warn\] //r } keys %warnings;
        my %said = map { (s/^poolwatch: //r =~ s/\s+$//r) => 1 } @said;
        is(scalar keys %said, 1, 'one warning') or diag explain \%said;
        like((keys %said)[0] // '', $warning, 'that says what is wrong');
        $host->finish;
    });
}

# The process that keeps the state file, by the kernel's list of locks.
sub keepers {
    my ($host) = @_;
    my $inode = (stat state_file($host))[1];
    open my $locks, '<', '/proc/locks' or return;
    return map { /^\d+: POSIX \s+ADVISORY\s+WRITE (\d+) \S+:$inode\b/ ? $1 : () } <$locks>;
}

sub is_kept_by {
    my ($host, @workers) = @_;
    my ($keeper, @more) = keepers($host);
    return defined $keeper && !@more && grep { $_ == $keeper } @workers;
}

subtest('an upgrade of the binary: one process tree sends', sub {
    my $host = failed_over(daemon => 1);
    my @old = $host->workers;
    my $old = $host->upgrade;
    ok(is_kept_by($host, @old), 'the old tree keeps the state');
    is_deeply($host->get_many(50), { 200 => 50 }, 'both serve');
    $host->app('blue');
    $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the recovery alert', 40, '/', 0.01);
    $host->get_many(50);
    is(scalar $host->messages(0), 2, 'the recovery that both see is told once');
    kill 'WINCH', $old;
    Poolwatch::wait_until(sub { is_kept_by($host, $host->workers) }, 'the new tree to keep the state', 10);
    $host->stop('blue');
    $host->get_until(sub { $host->messages(0, 0) > 2 }, 'the failover alert', 20, '/', 0.01);
    $host->end_master($old, 'QUIT');
    $host->get_many(50);
    my @titles = $host->titles(3);
    is(scalar @titles, 3, 'nothing is told twice');
    like($titles[2], qr/Failover/, 'the last message is the truth');
    $host->finish;
});

subtest('a worker that takes hours to end keeps nobody from sending', sub {
    my $host = failed_over(daemon => 1, workers => 1);
    my ($worker) = $host->workers;
    # A request that does not end.
    my $held = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $host->{ports}{PORT}) or die $!;
    print $held "GET / HTTP/1.1\r\nHost: x\r\n";
    $held->flush;
    Poolwatch::wait_until(sub { Poolwatch::has_connection($worker, $host->{ports}{PORT}, 'local') }, 'nginx to take it', 10);
    my $old = $host->upgrade;
    kill 'WINCH', $old;
    my $lingers = sub { Poolwatch::title($worker) =~ /shutting down/ };
    Poolwatch::wait_until($lingers, 'the old worker to be on its way out', 10);
    Poolwatch::wait_until(sub { is_kept_by($host, $host->workers) }, 'the new tree to keep the state', 10);
    $host->app('blue');
    $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the recovery alert', 40, '/', 0.01);
    ok($lingers->(), 'while it is still there');
    close $held;
    $host->end_master($old, 'QUIT');
    like(($host->titles(2))[1], qr/Recovery/, 'told by the new tree');
    $host->finish;
});

subtest('the roll-back of an upgrade: the old tree goes on where the new one ended', sub {
    my $host = failed_over(daemon => 1);
    my $old = $host->upgrade;
    kill 'WINCH', $old;
    Poolwatch::wait_until(sub { is_kept_by($host, $host->workers) }, 'the new tree to keep the state', 10);
    $host->app('blue');
    $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the recovery alert', 40, '/', 0.01);
    kill 'HUP', $old;
    $host->end_master($host->{master}, 'QUIT');
    $host->{master} = $old;
    Poolwatch::wait_until(sub { is_kept_by($host, $host->workers) }, 'the old tree to keep the state', 10);
    is_deeply($host->get_many(50), { 200 => 50 }, 'it serves');
    is(scalar $host->messages(0), 2, 'what the new one told is not told again');
    $host->stop('blue');
    $host->get_until(sub { $host->messages(0, 0) > 2 }, 'the failover alert', 20, '/', 0.01);
    is(scalar $host->messages(0), 3, 'what happens next is told once');
    $host->finish;
});

subtest('the keeper is killed: another worker keeps the state and alerts go out', sub {
    my $host = failed_over(workers => 3);
    for my $round (1 .. 3) {
        my ($keeper) = keepers($host);
        kill 'KILL', $keeper;
        Poolwatch::wait_until(sub { my ($next) = keepers($host); $next && $next != $keeper }, 'another keeper', 10);
    }
    $host->app('blue');
    $host->get_until(sub { $host->messages(0, 0) > 1 }, 'the recovery alert', 30, '/', 0.01);
    wait_for_record($host, qr/"acked":2/);
    $host->allow(qr/exited on signal 9/);
    $host->finish;
});

done_testing;
