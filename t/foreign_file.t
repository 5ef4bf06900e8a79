# The state file is a file that is empty or was made by Poolwatch: nothing else is ever written to, and a test of the configuration
# already says so.

use strict;
use warnings;

use POSIX ();
use Poolwatch;
use Socket;
use Test::More;

plan skip_all => 'needs root, as nginx usually has' if $> != 0;

my $host = Poolwatch->new(workers => 1);
$host->app($_) for qw(blue green);
my $prefix = $host->{prefix};

# The configuration with this state file; what nginx -t makes of it.
sub configure {
    my ($state) = @_;
    $host->write_config($host->blue_green, "poolwatch_zone poolwatch 1m state=$state;");
    return $host->test_config;
}

sub refuses {
    my ($state, $words, $name) = @_;
    my ($status, $text) = configure($state);
    is($status, 1, "$name: nginx -t refuses it");
    like($text, qr{^nginx: \[emerg\] $words in \Q$prefix\E/nginx\.conf:\d+$}m, 'by name and line');
}

# Tries to start: there is nothing to wait for, since nginx ends.
sub starts {
    my $pid = $host->spawn('start', {}, undef, $host->command('-g', 'daemon off;'));
    Poolwatch::wait_until(sub { waitpid $pid, POSIX::WNOHANG() }, 'nginx to refuse to start', 10);
    my $status = $? >> 8;
    delete $host->{pids}{$pid};
    return $status;
}

sub slurp { my ($path) = @_; open my $file, '<:raw', $path or die "$path: $!"; local $/; return <$file> // '' }

mkdir "$prefix/own", 0755;
mkdir "$prefix/open";
chmod 0777, "$prefix/open";
mkdir "$prefix/theirs";
chown((getpwnam 'nobody')[2, 3], "$prefix/theirs");
mkdir "$prefix/group";
chmod 0775, "$prefix/group";

my %foreign = (
    'a text'                 => "precious\n",
    'a text with NULs behind' => "precious\n" . "\0" x 200_000,
    'zeroes'                 => "\0" x (128 * 1024),
    'a binary'               => join('', map { chr(($_ * 97) & 255) } 1 .. 300_000),
);
for my $name (sort keys %foreign) {
    $host->write_file('own/file', $foreign{$name});
    refuses('own/file', qq{"\Q$prefix\E/own/file" is not empty and no state file of Poolwatch, it is left alone}, $name);
    is(starts(), 1, 'nginx does not start with it');
    is(slurp("$prefix/own/file"), $foreign{$name}, 'and not a byte of it has changed');
}
refuses('nginx.conf', qq{"\Q$prefix\E/nginx.conf" is not empty and no state file of Poolwatch, it is left alone}, 'the configuration itself');

# Links in folders that somebody else may write to lead nowhere, wherever on the way they stand.
mkdir "$prefix/own/target";
$host->write_file('own/victim', '');
for my $folder (qw(open theirs group)) {
    my $link = "$prefix/$folder/state";
    symlink "$prefix/own/victim", $link or die $!;
    refuses("$folder/state", qq{"\Q$link\E" is not opened, "state" is a link in a folder that others may write to}, "a link in $folder/");
    unlink $link;
    symlink "$prefix/own/none", $link or die $!;
    refuses("$folder/state", qq{"\Q$link\E" is not opened, "state" is a link in a folder that others may write to}, "a link to no file in $folder/");
    unlink $link;
    symlink "$prefix/own/target", "$prefix/$folder/sub" or die $!;
    refuses("$folder/sub/state", qq{"\Q$prefix\E/$folder/sub/state" is not opened, "sub" is a link in a folder that others may write to}, "a linked folder in $folder/");
    unlink "$prefix/$folder/sub";
    link "$prefix/own/victim", "$prefix/$folder/state" or die $!;
    refuses("$folder/state", qq{"\Q$prefix\E/$folder/state" is not opened, "state" is a link in a folder that others may write to}, "a second name in $folder/");
    unlink $link;
}
is(-s "$prefix/own/victim", 0, 'what they led to was left alone');
ok(!-e "$prefix/own/none", 'or not made');

# What is no file at all.
POSIX::mkfifo("$prefix/own/pipe", 0600);
refuses('own/pipe', qq{"\Q$prefix\E/own/pipe" is not a regular file}, 'a pipe');
refuses('/dev/zero', '"/dev/zero" is not a regular file', 'a device');
socket my $socket, AF_UNIX, SOCK_STREAM, 0;
bind $socket, pack_sockaddr_un("$prefix/own/socket");
refuses('own/socket', qq{"\Q$prefix\E/own/socket" is not a regular file}, 'a socket');
refuses('own', qq{open\\(\\) "\Q$prefix\E/own" failed \\(21: Is a directory\\)}, 'a folder');
symlink 'circle', "$prefix/own/circle";
refuses('own/circle', qq{open\\(\\) "\Q$prefix\E/own/circle" failed \\(40: Too many levels of symbolic links\\)}, 'links in a circle');

# What an operator arranges on purpose works, and a test of the configuration makes and changes nothing.
symlink "$prefix/own/target", "$prefix/own/folder";
symlink '../own/./target/../target/kept', "$prefix/own/file-link";
for my $state ('own/new', 'own/folder/new', 'own/file-link', 'theirs/new', "$prefix/open/new", 'own/victim') {
    my ($made) = $state =~ m{^/} ? $state : "$prefix/$state";
    my ($status, $text) = configure($state);
    is($status, 0, "$state: accepted") or diag $text;
    ok(!-s $made, 'a test of the configuration writes nothing');
    ok(!-e $made, 'and makes nothing') if $state !~ /victim/;
    $host->start;
    $host->get('/');
    Poolwatch::wait_until(sub { slurp($made) =~ /"upstreams":\[\{"name":"app"/ }, "the state in $state");
    is((stat $made)[2] & 07777, 0600, 'for nobody else to read') if $state !~ /victim/;
    $host->quit;
    my @before = (slurp($made), (stat $made)[9]);
    ($status, $text) = configure($state);
    is($status, 0, 'accepted again') or diag $text;
    is_deeply([ slurp($made), (stat $made)[9] ], \@before, 'and unchanged by that');
}

# A running nginx goes on with the file it has.
configure('own/target/kept');
$host->start;
$host->write_file('own/file', "precious\n");
configure('own/file');
kill 'HUP', $host->{master};
Poolwatch::wait_until(sub { $host->error_log =~ /own\/file" is not empty/ }, 'the reload to be refused');
is($host->get('/')->{status}, 200, 'requests are served');
is(slurp("$prefix/own/file"), "precious\n", 'and the file is left alone');

$host->allow(qr/\[emerg\] .* in \Q$prefix\E\/nginx\.conf:\d+$/);
$host->finish;
done_testing;
