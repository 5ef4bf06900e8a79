# tools/reap, by which tools/test finds what a suite started and left behind: that, and nothing else, is named and ended.

use strict;
use warnings;

use Poolwatch;
use Test::More;

my $root = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/..');
my $host = Poolwatch->new(workers => 2);
$host->write_config('', '', 'return 200;');

# What tools/reap says of a command, and its exit status.
sub reap {
    my (@command) = @_;
    my $pid = open my $output, '-|' // die $!;
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec "$root/tools/reap", @command or die;
    }
    my $said = do { local $/; <$output> } // '';
    close $output;
    return ($? >> 8, $said);
}

# Processes with this in their command lines.
sub running {
    my ($words) = @_;
    return grep { Poolwatch::is_running($_) && Poolwatch::title($_) =~ /\Q$words\E/ } map { m{/proc/(\d+)$} } glob '/proc/[0-9]*';
}

# As the processes of another run in this tree.
my @foreign = map { $host->spawn("foreign$_", {}, undef, 'sh', '-c', 'while :; do sleep 1; done', "$host->{prefix}/target/t/host-x/nginx") } 1 .. 2;

is_deeply([reap('sh', '-c', 'echo well; exit 3')], [3, "well\n"], 'a command that cleans up has its own output and status');
is((reap('sh', '-c', 'kill -9 $$'))[0], 137, 'also one that is killed');
is((reap('/nonsense'))[0], 1, 'one that is not there fails');
is_deeply([reap('sh', '-c', '(sleep 0.3) & exit 0')], [0, ''], 'what is on its way out is left in peace');

# nginx writes its titles over its environment, has a session of its own and is nobody's child.
my ($status, $said) = reap('env', '-i', $host->command('-g', 'daemon on;'));
isnt($status, 0, 'a daemon that is left behind is a failure');
like($said, qr/^left behind: \d+ nginx: master process.*\Q$host->{prefix}\E/m, 'nginx is named') or diag explain $said;
is(scalar(() = $said =~ /^left behind: \d+ nginx: worker process$/mg), 2, 'with its workers') or diag explain $said;
like($said, qr/^reap: 0 passed, 1 failed, 0 skipped\n\z/m, 'and counted once');
is_deeply([running($host->{prefix} . '/ ')], [], 'and it is gone');

# Two forks, a session, no environment, no open file, and what it starts in turn.
my $marker = "$host->{prefix}/hidden";
my $hidden = 'use POSIX; fork and exit; setsid; fork and exit; %ENV = (); POSIX::close($_) for 0 .. 9; fork; sleep 60';
($status, $said) = reap($^X, '-e', $hidden, $marker);
is(scalar(() = $said =~ /^left behind: .*\Q$marker\E$/mg), 2, 'who hides twice is found') or diag explain $said;
is_deeply([running($marker)], [], 'and ended');

# The status of tests that failed stays.
is((reap('sh', '-c', 'setsid sleep 60 >/dev/null & exit 2'))[0], 2, "the command's own failure stays its own");

is_deeply([sort { $a <=> $b } grep { Poolwatch::is_running($_) } @foreign], [sort { $a <=> $b } @foreign], 'a foreign process of like looks lives');

# tools/test adds it to the counts that the suite itself printed.
my $count = <<'BASH';
    eval "$(sed -n '/^heading()/p; /^suite()/,/^}/p' tools/test)"
    passed=0 failed=0 skipped=0 log=$(mktemp)
    suite "$@" >/dev/null
    rm "$log"
    echo "$passed $failed $skipped"
BASH
my $counted = sub {
    open my $output, '-|', 'bash', '-c', "cd $root\n$count", 'test', 'sh', '-c', "$_[0] echo 'prove: 7 passed, 0 failed, 1 skipped'" or die $!;
    local $/;
    return <$output>;
};
is($counted->(''), "7 0 1\n", 'a suite that cleans up has its own counts');
is($counted->('setsid sleep 60 &'), "7 1 1\n", 'one that does not has a failure more');
# Whatever was not found above.
kill 'KILL', running("$host->{prefix}/ "), running($marker);
$host->finish;

done_testing;
