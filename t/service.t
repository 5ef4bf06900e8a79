# Several upstream blocks that are one application: each recipe of docs/recipes.md, as it stands there but for ports, tells what it promises, and nothing else.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use Poolwatch;
use Test::More;
use Time::HiRes ();

my $root = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/..');
my $recipes = do { open my $file, '<', "$root/docs/recipes.md" or die $!; local $/; <$file> };
my %run;

# The configuration under a heading of the recipes.
sub recipe {
    my ($heading) = @_;
    my ($section) = $recipes =~ /^## \Q$heading\E\n(.*?)(?=^## |\z)/ms or die "no recipe \"$heading\"\n";
    $section =~ /^```nginx\n(.*?)^```\n/ms or die "no configuration under \"$heading\"\n";
    $run{$heading} = 1;
    return $1;
}

# A host with the recipe. What is changed: a word that the recipe has, and what stands in its place.
sub host {
    my ($heading, %options) = @_;
    my $self = Poolwatch->with_pools(workers => 2);
    $self->{recipe} = recipe($heading);
    $self->{http} = $options{http} // 'poolwatch_error_rate off; poolwatch_cooldown 0;';
    change($self);
    $self->start;
    return $self;
}

# Writes the configuration with these words changed.
sub change {
    my ($host, %changes) = @_;
    for my $from (keys %changes) {
        $host->{recipe} =~ s/\b\Q$from\E\b/$changes{$from}/ or die "the recipe has no \"$from\"\n";
    }
    my %ports = (app_blue => 'BLUE', app_green => 'GREEN');
    my $text = $host->{recipe} =~ s/\b(app_\w+):3000/127.0.0.1:%%$ports{$1}%%/gr;
    # The page is in the server that the recipe has, and requests are taken by it.
    $text =~ s/listen 8080;/listen 127.0.0.1:%%PORT%%; location \/poolwatch\/ { poolwatch_status; }/ or die 'no port';
    my $http = join "\n", $host->receiver, $host->{http};
    my $module = Poolwatch::module();
    my $paths = join '', map {"${_}_temp_path ${_}_temp; "} qw(client_body proxy fastcgi uwsgi scgi);
    $host->write_file('nginx.conf', $host->fill("load_module $module;\nworker_processes $host->{workers};\n"
                . "error_log logs/error.log info;\npid nginx.pid;\nevents { }\nhttp {\naccess_log off; $paths\n$http\n$text\n}\n"));
}

# The script's work: the words are changed, and nginx is reloaded.
sub switch {
    my ($host, %changes) = @_;
    change($host, %changes);
    $host->reload;
}

# What the titles say, without their marks and what follows.
sub told { my ($host) = @_; return map { /((?:Planned switch|Failover|Recovery|Outage|Mixed traffic|Error rate)[^(]*)/ ? ($1 =~ s/\s+$//r) : $_ } $host->titles(0, 0) }

# Requests come until this has been told, and no more than that.
sub is_told {
    my ($host, @expected) = @_;
    my @told;
    eval { $host->get_until(sub { (@told = told($host)) >= @expected }, "$#expected messages", 40, '/', 0.02) };
    is(scalar(@told), scalar(@expected), 'so many messages') or diag explain [ [@told], [@expected], $host->api('state')->{upstreams} ];
    like($told[$_] // '', $expected[$_], "told: $expected[$_]") for 0 .. $#expected;
}

# Requests come for this many seconds.
sub traffic {
    my ($host, $seconds) = @_;
    my $until = Time::HiRes::time() + $seconds;
    $host->get_until(sub { Time::HiRes::time() > $until }, 'time', $seconds + 10, '/', 0.02);
}

sub app { my ($host) = @_; return [grep { $_->{name} eq 'app' } @{ $host->api('state')->{upstreams} }]->[0] }

my $switched = qr/^Planned switch on "app": .*blue → .*green/;
my $back     = qr/^Planned switch on "app": .*blue/;
my $outage   = qr/^Outage on "app"/;

subtest 'one block with one server, which a script writes' => sub {
    my $host = host('One block with one server, which a script writes');
    traffic($host, 1);
    switch($host, app_blue => 'app_green');
    is_told($host, $switched);
    $host->stop('blue');
    # The comment of the recipe names green, too: the first one is the server's.
    switch($host, app_green => 'app_blue');
    is_told($host, $switched, $outage);
    my %pools = map { $_->{name} => $_ } @{ app($host)->{pools} };
    cmp_ok($pools{blue}{attempts}{refused}, '>', 0, 'blue is to blame');
    is($pools{green}{attempts}{refused}, 0, 'and not green');
    $host->finish;
};

# The same with a map and with an included file.
for my $way (
    [ 'Two blocks and a map', sub { my ($host, $from, $to) = @_; switch($host, "default $from" => "default $to") } ],
    [ 'Two blocks and an included file', sub { my ($host, undef, $to) = @_; $host->write_file('live.conf', "set \$live $to;"); $host->reload } ],
) {
    my ($heading, $switch) = @$way;
    subtest $heading => sub {
        my $host = Poolwatch->with_pools(workers => 2);
        $host->write_file('live.conf', 'set $live blue_servers;');
        ($host->{recipe}, $host->{http}) = (recipe($heading), 'poolwatch_cooldown 0;');
        change($host);
        $host->start;
        traffic($host, 1);
        is_deeply(app($host)->{blocks}, [ { name => 'blue_servers', asked_first => JSON::PP::true }, { name => 'green_servers', asked_first => JSON::PP::false } ], 'the blocks are shown');
        $switch->($host, 'blue_servers', 'green_servers');
        is_told($host, $switched);
        $host->chaos('green', 'error');
        is_told($host, $switched, $outage);
        $switch->($host, 'green_servers', 'blue_servers');
        is_told($host, $switched, $outage, $back);
        traffic($host, 1);
        is_told($host, $switched, $outage, $back);
        my $app = app($host);
        is_deeply([ $app->{serving}, $app->{expected_pool}, $app->{alerts} ], [ { state => 'pool', pool => 'blue' }, 'blue', [] ], 'blue serves, and no incident is open');
        is(scalar @{ $host->api('state')->{upstreams} }, 1, 'the blocks are not watched by themselves');
        $host->finish;
    };
}

subtest 'a mirrored pair' => sub {
    my $host = host('A mirrored pair');
    my @told = (qr/^Failover on "app": .*blue → .*green/);
    traffic($host, 1);
    $host->chaos('blue', 'error');
    is_told($host, @told);
    switch($host, 'live blue_first' => 'live green_first');
    is_told($host, @told, qr/^Planned switch on "app": .*green/);
    $host->chaos('blue');
    switch($host, 'live green_first' => 'live blue_first');
    is_told($host, @told, qr/^Planned switch on "app": .*green/, qr/^Planned switch on "app": .*green → .*blue/);
    $host->chaos('blue', 'error');
    push @told, qr/^Planned switch on "app": .*green/, qr/^Planned switch on "app": .*green → .*blue/, $told[0];
    is_told($host, @told);
    $host->chaos('blue');
    is_told($host, @told, qr/^Recovery on "app": .*green → .*blue/);
    $host->finish;
};

subtest 'a canary' => sub {
    my $host = host('A canary', http => 'poolwatch_error_rate 2% window=50;');
    traffic($host, 5);
    is_told($host);
    my $app = app($host);
    is_deeply([ map { $_->{asked_first} ? 1 : 0 } @{ $app->{blocks} } ], [ 1, 0 ], 'a canary of a tenth is not expected');
    $host->chaos('green', 'error');
    is_told($host, qr/^Error rate on "app"/);
    $host->chaos('green');
    $host->{recipe} =~ s/10% canary;\n\s+\*   stable;/* canary;/ or die;
    switch($host);
    $host->get_until(sub { grep { /$switched/ } told($host) }, 'the switch', 40, '/', 0.02);
    is(scalar(grep { /Failover|Outage|Mixed|Recovery/ } told($host)), 0, 'and nothing else about who serves');
    $host->finish;
};

subtest 'half and half' => sub {
    my $host = Poolwatch->with_pools(workers => 2);
    ($host->{recipe}, $host->{http}) = (recipe('A canary') =~ s/10%/50%/r, 'poolwatch_error_rate off;');
    change($host);
    $host->start;
    $host->get_until(sub { my $app = app($host); $app && $app->{serving}{state} eq 'several' }, 'several pools to serve', 40, '/', 0.02);
    traffic($host, 3);
    is_told($host);
    $host->finish;
};

subtest 'another block by error_page' => sub {
    my $host = host('Another block by error_page');
    traffic($host, 1);
    $host->chaos('blue', 'error');
    my $failover = qr/^Failover on "app": .*blue → .*green/;
    is_told($host, $failover);
    my $app = app($host);
    is_deeply([ map { $_->{asked_first} ? 1 : 0 } @{ $app->{blocks} } ], [ 1, 0 ], 'the first choice stays blue');
    is($app->{requests}{client_error}, 0, 'no client got an error');
    cmp_ok($app->{requests}{masked_failover}, '>', 0, 'both groups are one request');
    $host->chaos('blue');
    is_told($host, $failover, qr/^Recovery on "app": .*green → .*blue/);
    $host->finish;
};

is_deeply([ sort keys %run ], [ sort grep { $recipes =~ /^## \Q$_\E\n(?:(?!^## ).)*?^```nginx/ms } $recipes =~ /^## (.*)$/mg ], 'each recipe was run');

done_testing;
