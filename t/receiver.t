# Delivery: what the receiver answers decides what happens next, the last accepted message is the truth, and clients never notice.
# D14 (nothing is lost when the webhook is down), D15 (nothing waits for it), D16 and D17 (silence), D20 (Slack takes the payload).

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;

# A host whose blue has just been killed, and whose receiver behaves like this.
sub failed_over {
    my (%mode) = @_;
    my $host = Poolwatch->with_pools(workers => 2);
    $host->slack_mode(%mode) if %mode;
    $host->watch('poolwatch_error_rate off;');
    $host->get_many(20);
    $host->stop('blue');
    is($host->get('/')->{status}, 200, 'green answers');
    return $host;
}

subtest('a refusing receiver is asked again until it accepts (D14)', sub {
    my $host = failed_over(mode => 'refuse', status => 503, times => 2);
    is(scalar $host->messages(1, 30), 1, 'accepted in the end');
    my @tries = $host->captured('count=0');
    is(scalar @tries, 3, 'at the third try');
    is(scalar(() = $host->error_log =~ /\[error\].*receiver "slack"/g), 1, 'one error line, not one per attempt');
    like($host->error_log, qr/\[notice\].*receiver "slack" accepts messages again/, 'and one that it is over');
    $host->finish;
});

subtest('Retry-After is honoured', sub {
    my $host = failed_over(mode => 'rate_limited', retry_after => '3', times => 1);
    is(scalar $host->messages(1, 30), 1, 'accepted in the end');
    my ($refused, $accepted) = $host->captured('count=0');
    cmp_ok($accepted->{received_unix_ms} - $refused->{received_unix_ms}, '>=', 2990, 'not before its time');
    $host->finish;
});

subtest('a receiver that dislikes blocks gets plain text', sub {
    my $host = failed_over(mode => 'refuse_blocks');
    my ($message) = $host->messages(1, 30);
    ok(!exists $message->{body}{blocks}, 'no blocks');
    like($message->{body}{text}, qr/^[\x20-\x7e\n]+$/, 'plain ASCII');
    like($message->{body}{text}, qr/app.*blue.*green/s, 'the facts are there');
    $host->finish;
});

subtest('a page with status 200 is no success', sub {
    my $host = failed_over(mode => 'html', times => 1);
    is(scalar $host->messages(1, 30), 1, 'told again, and accepted');
    $host->finish;
});

subtest('a redirect is not followed', sub {
    my $host = failed_over(mode => 'redirect', location => 'http://127.0.0.1:1/');
    Poolwatch::wait_until(sub { $host->error_log =~ /\[error\].*receiver "slack"/ }, 'the error line', 10);
    is(scalar $host->captured('count=0'), 1, 'one request');
    $host->finish;
});

subtest('a webhook that is gone: one error line, and a reload tries again', sub {
    my $host = failed_over(mode => 'refuse', status => 404, body => 'no_service');
    Poolwatch::wait_until(sub { $host->error_log =~ /\[error\].*receiver "slack"/ }, 'the error line', 10);
    like($host->error_log, qr/no_service/, 'with Slack\'s word for it');
    $host->slack_mode(mode => 'ok');
    $host->reload;
    my ($message) = $host->messages(1, 20);
    like($message->{body}{text}, qr/Failover/, 'the debt was kept');
    $host->finish;
});

subtest('a hanging receiver delays no request, and the truth is told when it wakes (D15)', sub {
    my $host = failed_over(mode => 'hang');
    $host->get_until(sub { $host->captured('count=0') }, 'the courier to be stuck', 10);
    is_deeply($host->get_many(200), { 200 => 200 }, 'requests go on');
    $host->app('blue');
    $host->get_until(sub { $host->error_log =~ /recovery of upstream "app"/ }, 'the recovery in error.log', 30, '/', 0.02);
    $host->slack_mode(mode => 'ok');
    my @messages = $host->messages(1, 30);
    like($messages[-1]{body}{text}, qr/serving traffic again/, 'the last message is the truth');
    $host->finish;
});

subtest('two receivers are independent', sub {
    my $host = Poolwatch->with_pools(workers => 1);
    $host->slack('second');
    $host->slack_mode(mode => 'hang');
    my $receivers = $host->receiver
        . ' poolwatch_receiver slack http://127.0.0.1:%%SECOND%%/services/T/B/y name=second;';
    $host->write_config($host->blue_green('poolwatch_error_rate off;'), $receivers);
    $host->start;
    $host->get_many(20);
    $host->stop('blue');
    $host->get('/');
    local $host->{ports}{SLACK} = $host->{ports}{SECOND};
    is(scalar $host->messages(1, 5), 1, 'the second is told while the first hangs');
    $host->finish;
});

subtest('silence holds back, and forgets nothing', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    my $conf = sub { $host->configure("poolwatch_error_rate off; poolwatch_silence $_[0];") };
    $conf->('on');
    $host->start;
    $host->get_many(20);
    $host->stop('blue');
    $host->get_until(sub { $host->error_log =~ /\[error\].*failover of upstream/ }, 'the failover in error.log', 10);
    $host->get_many(50);
    my @titles = $host->titles(1, 10);
    is(scalar @titles, 1, 'nothing is sent but that there is silence');
    like($titles[0], qr/Silence.*held back/, 'which silence does not swallow (D17), and the mock takes as Slack does (D20)');
    $conf->('off');
    $host->reload;
    @titles = $host->titles(3, 20);
    like($titles[1], qr/Silence.*is over/, 'its end is told');
    like($titles[2], qr/Failover/, 'and what still is true (D16)');
    $host->finish;
});

subtest('cooldown holds the repetition back and not the way back (D7)', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    # The confirmation makes an outage and its end quick to come by.
    $host->write_config(<<'CONF', $host->receiver);
    upstream app {
        server 127.0.0.1:%%BLUE%% max_fails=0;
        poolwatch on;
        poolwatch_error_rate off;
        poolwatch_failover on confirm=100ms;
        poolwatch_cooldown 6s;
    }
CONF
    $host->start;
    $host->get_many(5);
    my $lines = sub { my ($what) = @_; return scalar(() = $host->error_log =~ /poolwatch: $what of upstream "app"/g) };
    $host->stop('blue');
    $host->get_until(sub { $lines->('outage') == 1 }, 'the outage', 10);
    $host->app('blue');
    $host->get_until(sub { $lines->('recovery') == 1 }, 'its end', 10);
    my @first = $host->messages(2, 10);
    like($first[0]{body}{text}, qr/no pool answers/i, 'the outage is told');
    like($first[1]{body}{text}, qr/serving traffic again/i, 'and its end, within the cooldown');
    # What comes and goes within the cooldown is no message, what stays is one when it is over.
    $host->stop('blue');
    $host->get_until(sub { $lines->('outage') == 2 }, 'the second outage', 10);
    $host->app('blue');
    $host->get_until(sub { $lines->('recovery') == 2 }, 'its end', 10);
    $host->stop('blue');
    $host->get_until(sub { $lines->('outage') == 3 }, 'the third outage', 10);
    my @all = $host->messages(3, 20);
    like($all[2]{body}{text}, qr/no pool answers/i, 'it is told');
    cmp_ok($all[2]{received_unix_ms} - $all[0]{received_unix_ms}, '>=', 5900, 'and waited for the cooldown');
    like($all[2]{raw}, qr/2 more changes/, 'it says what was held back');
    $host->app('blue');
    $host->get_until(sub { $lines->('recovery') == 3 }, 'its end', 10);
    @all = $host->messages(4, 20);
    like($all[3]{body}{text}, qr/serving traffic again/i, 'the last message is the truth');
    $host->finish;
});

subtest('no secret gets out', sub {
    my $secret = 'canary' . 'x' x 26;
    my $host = Poolwatch->with_pools(workers => 2, env => { HOOK => '' });
    $host->slack_mode(mode => 'refuse', status => 500, times => 1);
    $host->{env}{HOOK} = "http://127.0.0.1:$host->{ports}{SLACK}/services/T/B/$secret";
    $host->write_config($host->blue_green, '    poolwatch_receiver slack env:HOOK;');
    $host->start;
    $host->get_many(20);
    $host->chaos($_, 'error') for qw(blue green);
    for (1 .. 10) {
        $host->get("/a/$secret/b?token=$secret",
            headers => { Cookie => "c=$secret", Authorization => "Bearer $secret", 'X-App-Pool' => $secret });
    }
    my @messages = $host->messages(2, 20);
    unlike(join("\n", map { $_->{raw} } @messages), qr/canary/, 'in no message');
    # nginx's own lines hold the request; ours do not.
    my $ours = join "\n", grep { /poolwatch/ } split /\n/, $host->error_log;
    isnt($ours, '', 'there are lines of ours');
    unlike($ours, qr/canary/, 'in none of our lines');
    $host->finish;
});

done_testing;
