# Every mistake in a configuration is an error of nginx's own kind: it names the culprit and its line, and nginx -t exits with 1.

use strict;
use warnings;

use POSIX ();
use Poolwatch;
use Test::More;

my $host = Poolwatch->new(env => { GOOD => 'https://hooks.example/services/T/B/canary', EMPTY => '', BAD => 'canary nonsense' });
$host->write_file('blank', " \n");
$host->write_file('page', "<html>canary</html>\n");
$host->write_file('hook', "  https://hooks.example/services/T/B/canary \n");
chmod 0600, "$host->{prefix}/hook";

# Checks one configuration: where the line stands (http, upstream, server), the line, and what nginx says.
# %%LINE%% in the expectation is the line's place.
sub says {
    my ($where, $line, $expected) = @_;
    my %at = (http => '', upstream => 'server 127.0.0.1:8081; server 127.0.0.1:8082 backup;', server => 'return 204;');
    $at{$where} = $where eq 'upstream' ? "$at{upstream}\n#HERE\n$line" : "#HERE\n$line\n$at{$where}";
    $host->write_config("upstream app {\n poolwatch on;\n $at{upstream}\n}", "$at{http}\n", "$at{server}");
    open my $file, '<', "$host->{prefix}/nginx.conf" or die $!;
    my $number;
    while (<$file>) { $number = $. + 1 if /#HERE/ }
    my ($status, $text) = $host->test_config;
    unlike($text, qr/canary|panicked/, 'no secret, no panic') or diag $text;
    if (ref $expected) {
        is($status, 0, "accepted: $line");
        like($text, $expected->[0], 'with a warning') if $expected->[0];
        unlike($text, $expected->[1], 'without a warning') if $expected->[1];
        return;
    }
    my $place = " in $host->{prefix}/nginx.conf:$number";
    is($status, 1, "refused: $line");
    my $wanted = "nginx: [emerg] $expected$place\n";
    ok(index($text, $wanted) >= 0, 'by name and line') or diag "got:    $text\nwanted: $wanted";
}

my $on_off = 'it must be "on" or "off"';
my @mistakes = (
    [upstream => 'poolwatch on;', '"poolwatch" directive is duplicate'],
    [http     => 'poolwatch yes;', qq{invalid value "yes" in "poolwatch" directive, $on_off}],
    [http     => 'poolwatch on off;', 'invalid number of arguments in "poolwatch" directive'],
    [server   => 'poolwatch on;', '"poolwatch" directive is not allowed here'],
    [upstream => 'poolwatch_zone a 1m;', '"poolwatch_zone" directive is not allowed here'],
    [http     => 'poolwatch_pool blue 127.0.0.1:8081;', '"poolwatch_pool" directive is not allowed here'],
    [http     => 'poolwatch_error_rate 2x;', 'invalid value "2x" in "poolwatch_error_rate"'],
    [http     => 'poolwatch_error_rate 2;', 'invalid value "2" in "poolwatch_error_rate"'],
    [upstream => 'poolwatch_error_rate -1%;', 'invalid value "-1%" in "poolwatch_error_rate"'],
    [upstream => 'poolwatch_error_rate 101%;', 'invalid value "101%" in "poolwatch_error_rate"'],
    [upstream => 'poolwatch_error_rate 2% window=0;', 'invalid value "window=0" in "poolwatch_error_rate"'],
    [upstream => 'poolwatch_error_rate 2% window=100001;', 'invalid value "window=100001" in "poolwatch_error_rate"'],
    [upstream => 'poolwatch_error_rate 2% of=all;', 'invalid value "of=all" in "poolwatch_error_rate"'],
    [upstream => 'poolwatch_error_rate 2% resolve=3%;', 'invalid value "resolve=3%" in "poolwatch_error_rate", it must not exceed "2%"'],
    [upstream => 'poolwatch_error_rate 2% x=1;', 'invalid parameter "x=1"'],
    [upstream => 'poolwatch_error_rate 2% window=1 window=2;', 'duplicate parameter "window=2"'],
    [server   => 'poolwatch_status;', '"poolwatch_status" directive is not allowed here'],
    [server   => 'location /p/ { poolwatch_status write=maybe; }', 'invalid value "write=maybe" in "poolwatch_status"'],
    [server   => 'location /p/ { poolwatch_status write; }', 'invalid value "write" in "poolwatch_status"'],
    [server   => 'location /p/ { poolwatch_status read=on; }', 'invalid parameter "read=on"'],
    [server   => 'location /p/ { poolwatch_status write=on write=on; }', 'duplicate parameter "write=on"'],
    [server   => 'location /p/ { poolwatch_status; poolwatch_status; }', '"poolwatch_status" directive is duplicate'],
    [upstream => 'poolwatch_failover maybe;', qq{invalid value "maybe" in "poolwatch_failover" directive, $on_off}],
    [upstream => 'poolwatch_failover on confirm=2m;', 'invalid value "confirm=2m" in "poolwatch_failover"'],
    [upstream => 'poolwatch_failover off confirm=1s;', 'invalid parameter "confirm=1s"'],
    [upstream => 'poolwatch_cooldown soon;', 'invalid value "soon" in "poolwatch_cooldown"'],
    [upstream => 'poolwatch_silence perhaps;', qq{invalid value "perhaps" in "poolwatch_silence" directive, $on_off}],
    [upstream => 'poolwatch_runbook wiki;', 'invalid value "wiki" in "poolwatch_runbook"'],
    [upstream => 'poolwatch_pool_header "a b";', 'invalid value "a b" in "poolwatch_pool_header"'],
    [upstream => 'poolwatch_pool blue 127.0.0.1:9999;', 'unknown server "127.0.0.1:9999" in "poolwatch_pool"'],
    [upstream => 'poolwatch_pool "a b" 127.0.0.1:8081;', 'invalid value "a b" in "poolwatch_pool"'],
    [http     => 'poolwatch_service shop;', 'invalid number of arguments in "poolwatch_service" directive'],
    [upstream => 'poolwatch_service shop app;', '"poolwatch_service" directive is not allowed here'],
    [http     => 'poolwatch_service a/b app;', 'invalid value "a/b" in "poolwatch_service"'],
    [http     => 'poolwatch_service ' . 'x' x 65 . ' app;', 'invalid value "' . 'x' x 65 . '" in "poolwatch_service"'],
    [http     => 'poolwatch_service shop app "";', 'invalid value "" in "poolwatch_service"'],
    [http     => 'poolwatch_service shop app app;', 'duplicate upstream "app" in "poolwatch_service"'],
    [http     => 'poolwatch_service shop a b c d e f g h i;', 'too many upstreams in a service, at most 8 are possible'],
    [http     => 'poolwatch_service shop app; poolwatch_service shop other;', 'duplicate service "shop"'],
    [http     => 'poolwatch_service shop app; poolwatch_service mall app;', 'upstream "app" belongs to the service "shop" already'],
    [http     => 'poolwatch_service shop app nowhere;', 'unknown upstream "nowhere" in "poolwatch_service"'],
    [http     => 'poolwatch_service app b; upstream b { server 127.0.0.1:8083; }', 'service "app" has the name of a watched upstream'],
    [http     => 'poolwatch_service shop app b; upstream b { server 127.0.0.1:8083; poolwatch off; }', 'upstream "b" with "poolwatch off" in "poolwatch_service" "shop"'],
    [http     => 'poolwatch_service shop ' . join(' ', 1 .. 5) . '; ' . join(' ', map {"upstream $_ { server 127.0.1.$_; server 127.0.2.$_ backup; }"} 1 .. 5),
        'too many pools of service "shop", at most 8 are possible'],
    [http     => 'poolwatch_zone a 1x;', 'invalid zone size "1x"'],
    [http     => 'poolwatch_zone a 16k;', 'zone "a" is too small'],
    [http     => 'poolwatch_zone a 1m status=/x;', 'invalid parameter "status=/x"'],
    [http     => 'poolwatch_zone a state=x 1m;', 'invalid parameter "1m"'],
    [http     => 'poolwatch_receiver webhook https://canary.example/;', 'unknown receiver type "webhook"'],
    [http     => 'poolwatch_receiver slack env:EMPTY;', 'environment variable "EMPTY" is empty'],
    [http     => 'poolwatch_receiver slack env:BAD;', 'invalid URL from "env:BAD" in "poolwatch_receiver"'],
    [http     => 'poolwatch_receiver slack file:missing;', qq{stat() "$host->{prefix}/missing" failed (2: No such file or directory)}],
    [http     => 'poolwatch_receiver slack file:page;', 'invalid URL from "file:page" in "poolwatch_receiver"'],
    [http     => 'poolwatch_receiver slack ftp://canary/;', 'invalid URL in "poolwatch_receiver"'],
    [http     => 'poolwatch_receiver slack https://user:canary@hooks.example/;', 'invalid URL in "poolwatch_receiver"'],
    [http     => 'poolwatch_receiver slack env:GOOD timeout=26s;', 'invalid value "timeout=26s" in "poolwatch_receiver"'],
    [http     => 'poolwatch_receiver slack env:GOOD send_resolved=yes;', 'invalid value "send_resolved=yes" in "poolwatch_receiver"'],
    [http     => 'poolwatch_receiver slack env:GOOD ca_file=missing;', qq{stat() "$host->{prefix}/missing" failed (2: No such file or directory)}],
    [http     => 'poolwatch_receiver slack env:GOOD ca_file=page;', qq{no certificate in "$host->{prefix}/page"}],
);
says(@$_) for @mistakes;

# Two lines each, of which the second is wrong.
says(upstream => 'poolwatch_pool blue 127.0.0.1:8081; poolwatch_pool blue 127.0.0.1:8082;', 'duplicate pool "blue"');
says(upstream => 'poolwatch_pool a 127.0.0.1:8081; poolwatch_pool b 127.0.0.1:8081;', 'duplicate server "127.0.0.1:8081" in "poolwatch_pool"');
says(upstream => 'poolwatch_pool a 127.0.0.1:8081 127.0.0.1:8082; poolwatch_active red;', 'unknown pool "red" of upstream "app" in "poolwatch_active"');
says(upstream => 'poolwatch_cooldown 1s; poolwatch_cooldown 2s;', '"poolwatch_cooldown" directive is duplicate');
says(http => 'poolwatch_receiver slack env:GOOD; poolwatch_receiver slack env:GOOD;', 'duplicate receiver "slack", give it another "name="');

# What nginx starts with, and what its operator is told.
says(upstream => 'poolwatch_cooldown 0;', [qr/\[warn\] no "poolwatch_receiver" is given/]);
says(upstream => 'poolwatch_pool blue 127.0.0.1:8081;', [qr/\[warn\] server "127.0.0.1:8082" of upstream "app" is in no "poolwatch_pool"/]);
says(http => 'poolwatch_receiver slack http://hooks.example/canary;', [qr/\[warn\] "poolwatch_receiver" sends its credential to "hooks.example" in clear text/]);
says(http => 'poolwatch_receiver slack http://hooks.example/canary clear_text=on;', [undef, qr/clear text/]);
my $open = '"poolwatch_status write=on" stands in a location without "allow", "deny", "auth_basic" or "auth_request"';
for my $open_to_all ('', 'auth_basic off;', 'auth_request off;', 'satisfy any;') {
    says(server => "location /p/ { poolwatch_status write=on; $open_to_all }", [qr/\[warn\] \Q$open\E/]);
}
for my $guard ('allow 127.0.0.1;', 'deny all;', 'allow ::1;', 'auth_basic x;', 'auth_request /a;') {
    says(server => "location /p/ { poolwatch_status write=on; $guard }", [undef, qr/write=on/]);
    says(server => "$guard location /p/ { poolwatch_status write=on; }", [undef, qr/write=on/]);
}
says(server => 'location /p/ { poolwatch_status; }', [undef, qr/write=on/]);
says(server => 'location /p/ { poolwatch_status write=on; limit_except GET { deny all; } }', [undef, qr/write=on/]);
says(server => 'location /p/ { poolwatch_status write=on; limit_except GET POST { deny all; } }', [qr/\[warn\] \Q$open\E/]);
says(server => 'location /p/ { poolwatch_status write=on; limit_except GET { auth_basic off; } }', [qr/\[warn\] \Q$open\E/]);
for my $good (
    'poolwatch_receiver slack env:GOOD;', 'poolwatch_receiver slack file:hook name=ops timeout=3s send_resolved=off;',
    'poolwatch_error_rate 0.5% window=100000 of=client resolve=0.1%;', 'poolwatch_error_rate 0.02;', 'poolwatch_zone other 64m;', 'poolwatch_zone other;', 'poolwatch_zone other state=other.state;',
) {
    says(http => $good, [undef]);
}

# What is only in nginx's own environment cannot be checked elsewhere; whatever else can be is.
my $unset = 'poolwatch_receiver slack env:UNSET_VARIABLE';
says(http => "$unset;", [qr/\[warn\] environment variable "UNSET_VARIABLE" is not set here and cannot be checked in .*:\d+$/m, qr/no "poolwatch_receiver"/]);
says(http => "$unset; poolwatch_receiver slack env:GOOD name=other;", [qr/\[warn\] environment variable "UNSET_VARIABLE"/]);
says(http => "$unset ca_file=missing;", qq{stat() "$host->{prefix}/missing" failed (2: No such file or directory)});
subtest('nginx itself does not start without it, and not with less than before', sub {
    my $url = 'https://hooks.example/services/T/B/canary';
    my $config = sub { $host->write_config($host->blue_green, "poolwatch_receiver slack env:$_[0];") };
    $host->{ports}{$_} = Poolwatch::free_port() for qw(BLUE GREEN);
    $config->('UNSET_VARIABLE');
    my $pid = $host->spawn('start', {}, undef, $host->command('-g', 'daemon off;'));
    Poolwatch::wait_until(sub { waitpid $pid, POSIX::WNOHANG() }, 'nginx to end');
    is($? >> 8, 1, 'no start');
    delete $host->{pids}{$pid};
    $config->('GOOD');
    $host->start;
    is((my ($status) = $host->test_config)[0], 0, 'a test of the configuration with the variable');
    {
        local $host->{env} = {};
        my ($status, $text) = $host->test_config;
        is($status, 0, 'and one without it, as a cron job makes');
        like($text, qr/\[warn\] environment variable "GOOD" is not set here and cannot be checked/, 'says so');
    }
    my @workers = $host->workers;
    my $refusals = sub { return scalar(() = $host->error_log =~ /\[emerg\].*environment variable "UNSET_VARIABLE" is not set in/g) };
    my $before = $refusals->();
    $config->('UNSET_VARIABLE');
    kill 'HUP', $host->{master};
    Poolwatch::wait_until(sub { $refusals->() > $before }, 'the reload to be refused');
    is_deeply([ $host->workers ], \@workers, 'nginx goes on as before');
    $config->('GOOD');
    $host->reload;
    $host->quit;
});

# A zone that is too small says what is needed, and what it says is enough.
subtest('the size that is asked for is enough', sub {
    my $conf = sub { "poolwatch on; poolwatch_zone a $_[0];" };
    my $upstreams = join "\n", map { "upstream u$_ { server 127.0.0.1:8081; }" } 1 .. 5;
    $host->write_config($upstreams, $conf->('64k'), 'return 204;');
    my ($status, $text) = $host->test_config;
    my ($needed) = $text =~ /zone "a" is too small, the watched upstreams need (\d+k)/ or diag $text;
    is($status, 1, 'refused');
    $host->write_config($upstreams, $conf->($needed), 'return 204;');
    ($status, $text) = $host->test_config;
    is($status, 0, "$needed are enough") or diag $text;
});

# Of one that will be too small soon nginx -t warns. Without a size there is none.
subtest('a nearly full zone', sub {
    my $upstreams = sub { join "\n", map { "upstream u$_ { server 127.0.0.1:8081; }" } 1 .. $_[0] };
    my $needed = sub {
        $host->write_config($upstreams->($_[0]), 'poolwatch on; poolwatch_zone a 64k;', 'return 204;');
        my ($status, $text) = $host->test_config;
        return $text =~ /the watched upstreams need (\d+k)/ ? $1 : diag $text;
    };
    my ($for_one, $for_many) = map { $needed->($_) } 1, 16;
    for my $case ([ 12, $for_many ], [ 13, $for_many, 16 ], [ 16, $for_many, 16 ], [ 1, $for_one, 1 ], [ 200, '' ]) {
        my ($count, $size, $room) = @$case;
        my $upstreams = $upstreams->($count);
        $host->write_config($upstreams, "poolwatch on; poolwatch_zone a $size;", 'return 204;');
        my ($status, $text) = $host->test_config;
        is($status, 0, "$count upstreams in " . ($size || 'a zone without a size')) or diag $text;
        if ($room) {
            like($text, qr/\[warn\] zone "a" is nearly full, $count upstreams are watched and it has room for $room; without a size .* in .*:\d+$/m, 'a warning');
        } else {
            unlike($text, qr/nearly full/, 'no warning');
        }
    }
});

$host->allow(qr/\[emerg\] .* in \Q$host->{prefix}\E\/nginx.conf:\d+$/);
$host->finish;
done_testing;
