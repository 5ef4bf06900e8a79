# Nobody answers: D1 (a total outage is told), D2 (and told as what it is), D3 ("502, 502" is an error), D24 (its end as well).

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;

my %kinds = (
    'both refuse (502, 502)' => sub { my ($host) = @_; $host->stop($_) for qw(blue green) },
    'both answer 500 themselves' => sub { my ($host) = @_; $host->chaos($_, 'error') for qw(blue green) },
);

for my $kind (sort keys %kinds) {
    subtest("$kind: told as an outage, with its errors, in one message (D1, D2)", sub {
        my $host = Poolwatch->with_pools(workers => 2);
        $host->watch;
        $host->get_many(20);
        $kinds{$kind}->($host);
        my $during = $host->get_until(sub { grep(/no pool answers/i, $host->titles(0)) }, 'the outage', 20, '/', 0.02);
        ok(!$during->{200}, 'no request was served');
        my ($down) = $host->messages(1);
        like($down->{raw}, $kind =~ /refuse/ ? qr/refused|no live/i : qr/500/, 'the alert says why');
        like($down->{raw}, qr{GET /}, 'and shows a request');
        like($down->{raw}, qr/Client errors\*\\n\d+ of \d+/, 'and how many errors clients got');

        $host->app($_) for $kind =~ /refuse/ ? qw(blue green) : ();
        if ($kind !~ /refuse/) { $host->chaos($_) for qw(blue green) }
        my $is_over = sub { ($host->titles(0))[-1] =~ /serving traffic again|Failover/ };
        $host->get_until($is_over, 'the end of the outage to be told', 30, '/', 0.05);
        my @all = $host->titles(0);
        is(scalar(grep { /no pool answers/i } @all), 1, 'the outage was told once');
        is(scalar(grep { /error rate/i } @all), 0, 'its error rate is part of it');
        $host->allow(qr/no live upstreams/);
        $host->finish;
    });
}

subtest('one server alone (502), at one request at a time: nothing has to come after it (D24)', sub {
    my $host = Poolwatch->new(workers => 2);
    $host->app('blue');
    $host->slack;
    $host->write_config(<<'CONF', $host->receiver);
    upstream app {
        server 127.0.0.1:%%BLUE%%;
        poolwatch on;
        poolwatch_error_rate off;
    }
CONF
    $host->start;
    is($host->get('/')->{status}, 200, 'blue answers');
    $host->stop('blue');
    is_deeply($host->get_many(3), { 502 => 3 }, 'three requests fail, and nothing comes after them');
    my ($down) = $host->messages(1, 10);
    like($down->{body}{text}, qr/no pool answers/i, 'that is an outage');
    $host->app('blue');
    is($host->get('/')->{status}, 200, 'one request succeeds, and nothing comes after it');
    my @messages = $host->messages(2, 10);
    like($messages[1]{body}{text}, qr/serving traffic again/, 'that is its end');
    $host->finish;
});

subtest('no live upstreams', sub {
    my $host = Poolwatch->with_pools(workers => 2);
    my $upstream = $host->blue_green('poolwatch_error_rate off;');
    $upstream =~ s/backup/backup max_fails=1 fail_timeout=10s/;
    $upstream =~ s/fail_timeout=1s/fail_timeout=10s/;
    $host->write_config($upstream, $host->receiver);
    $host->start;
    $host->get_many(5);
    $host->stop($_) for qw(blue green);
    my $log = sub { $host->error_log =~ /no live upstreams/ };
    my $during = $host->get_until($log, 'nginx to give up', 10);
    ok(!$during->{200}, 'no request was served');
    my ($down) = $host->messages(1, 10);
    like($down->{body}{text}, qr/no pool answers/i, 'told at once');
    $host->finish;
});

done_testing;
