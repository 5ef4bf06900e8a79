# The stack without its containers: what docker/bin/configure makes of the environment and of nginx/templates, and what nginx does with that.

use strict;
use warnings;

use Poolwatch;
use Test::More;
use Time::HiRes qw(time);

my $hook = 'https://hooks.example/services/T/B/canary';
my $mock = 'http://mock-slack:9000/services/T/B/mock';

# A host whose folder is the container's root.
sub container {
    my $host = Poolwatch->new(workers => 2);
    my $root = $host->{prefix};
    for my $folder (qw(bin etc etc/nginx etc/nginx/templates etc/nginx/conf.d run run/secrets var var/lib var/lib/poolwatch var/log var/log/nginx)) {
        mkdir "$root/$folder" or die "$folder: $!";
    }
    symlink 'etc/nginx/nginx.conf', "$root/nginx.conf";
    symlink 'etc/nginx/conf.d', "$root/conf.d";
    $host->write_file('etc/nginx/nginx.conf', repository('nginx/nginx.conf'));
    $host->write_file("etc/nginx/templates/$_.conf.template", repository("nginx/templates/$_.conf.template")) for qw(app status);
    return $host;
}

sub repository {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!";
    local $/;
    return <$file>;
}

# poolwatch-configure with this environment and nothing else: its exit status, and what it says. The nginx it finds is the one in bin/.
sub configure {
    my ($host, $env, @arguments) = @_;
    my $pid = open my $out, '-|' // die $!;
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        %ENV = (PATH => "$host->{prefix}/bin:$ENV{PATH}", POOLWATCH_ROOT => $host->{prefix}, SLACK_WEBHOOK_URL => $hook, %$env);
        exec 'docker/bin/configure', @arguments or die;
    }
    my $text = do { local $/; <$out> } // '';
    close $out;
    return ($? >> 8, $text);
}

sub program {
    my ($host, $name, $text) = @_;
    $host->write_file("bin/$name", $text);
    chmod 0755, "$host->{prefix}/bin/$name";
}

sub conf {
    my ($host) = @_;
    return join '', map { repository($_) } glob "$host->{prefix}/etc/nginx/conf.d/*.conf";
}

subtest('what .env says is what nginx is told', sub {
    my $host = container();
    program($host, 'nginx', "#!/bin/sh\n");
    $host->write_file('run/secrets/ca.pem', "a certificate\n");
    my $secrets = "$host->{prefix}/run/secrets";
    for (
        # The public stacks' name for the port of the application.
        [{ PORT => 3000 }, qr/server app_blue:3000 max_fails=1 .*server app_green:3000 .*backup;/s],
        [{ PORT => 4000 }, qr/poolwatch_pool   blue  app_blue:4000;\n\s+poolwatch_pool   green app_green:4000;/],
        [{ PORT => 4000 }, qr/listen     8080;/],
        [{}, qr/server app_blue:3000 /],
        [{ ACTIVE_POOL => 'green' }, qr/server app_green:3000 max_fails=1 .*server app_blue:3000 .*backup;/s],
        [{}, qr/poolwatch_error_rate 2% window=200;/],
        [{ ERROR_RATE_THRESHOLD => '2%' }, qr/poolwatch_error_rate 2% window/],
        [{ ERROR_RATE_THRESHOLD => '0.02%' }, qr/poolwatch_error_rate 0\.02% window/],
        [{ ERROR_RATE_THRESHOLD => '0.0001%' }, qr/poolwatch_error_rate 0\.0001% window/],
        [{ ERROR_RATE_THRESHOLD => '100%' }, qr/poolwatch_error_rate 100% window/],
        [{ ERROR_RATE_THRESHOLD => '0.1' }, qr/poolwatch_error_rate 0\.1% window/],
        [{ ERROR_RATE_THRESHOLD => '0' }, qr/poolwatch_error_rate 0% window/],
        [{}, qr/poolwatch_receiver   slack env:SLACK_WEBHOOK_URL;/],
        [{ SLACK_WEBHOOK_URL => $mock }, qr/slack env:SLACK_WEBHOOK_URL clear_text=on;/],
        [{ SLACK_CA_FILE => 'ca.pem' }, qr{env:SLACK_WEBHOOK_URL ca_file=\Q$secrets\E/ca\.pem;}],
        [{ SLACK_PROXY => 'http://u:p%40@proxy:3128' }, qr{env:SLACK_WEBHOOK_URL proxy=http://u:p%40\@proxy:3128;}],
        [{ SLACK_WEBHOOK_URL => $mock }, qr{poolwatch_runbook    http://localhost:8090/runbook\.md;}],
        [{ SLACK_WEBHOOK_URL => $mock, STATUS_PORT => 9999 }, qr{http://localhost:9999/runbook\.md;}],
        [{ RUNBOOK_URL => 'https://wiki/x?y=1#z' }, qr{poolwatch_runbook    https://wiki/x\?y=1#z;}],
    ) {
        my ($env, $expected) = @$_;
        my ($status, $text) = configure($host, $env);
        my $shown = join ' ', map { "$_=$env->{$_}" } sort keys %$env;
        is($status, 0, "accepted: $shown") or diag $text;
        like(conf($host), $expected, 'and told');
        unlike($text, qr/canary|u:p/, 'no credential is said');
    }
    configure($host, {});
    unlike(conf($host), qr{poolwatch_runbook|//localhost}, 'no link to this machine in what a real Slack shows');
    is((stat "$host->{prefix}/etc/nginx/conf.d/app.conf")[2] & 07777, 0600, 'the file may hold the password of a proxy');
});

subtest('the settings in effect are said at the start', sub {
    my $host = container();
    program($host, 'nginx', "#!/bin/sh\n");
    my ($status, $text) = configure($host, { ERROR_RATE_THRESHOLD => '2.50', WINDOW_SIZE => 300, ALERT_COOLDOWN_SEC => 60 }, '--start');
    is($status, 0, 'it starts');
    like($text, qr/^poolwatch: alerts when more than 2\.50% of the last 300 requests fail upstream, .*again after 60 s$/m, 'the threshold');
    like($text, qr/^poolwatch: blue is active, alerts go to hooks\.example$/m, 'and the receiver');
});

subtest('what is wrong is said in one line that names the variable', sub {
    my $host = container();
    program($host, 'nginx', "#!/bin/sh\n");
    configure($host, {});
    my $before = conf($host);
    for (
        [PORT => '99999', 'invalid value "99999" in PORT: a port from 1 to 65535 is needed'],
        [PORT => '0', 'invalid value "0" in PORT: a port from 1 to 65535 is needed'],
        [PORT => 'http', 'invalid value "http" in PORT: a port from 1 to 65535 is needed'],
        [STATUS_PORT => '65536', 'invalid value "65536" in STATUS_PORT: a port from 1 to 65535 is needed'],
        [ACTIVE_POOL => 'blue ', 'invalid value "blue " in ACTIVE_POOL: blue or green is needed'],
        [MAINTENANCE_MODE => 'False', 'invalid value "False" in MAINTENANCE_MODE: false or true is needed'],
        [ERROR_RATE_THRESHOLD => '0.02', 'ambiguous value "0.02" in ERROR_RATE_THRESHOLD: write 0.02% or 2%'],
        [ERROR_RATE_THRESHOLD => '0.025', 'ambiguous value "0.025" in ERROR_RATE_THRESHOLD: write 0.025% or 2.5%'],
        [ERROR_RATE_THRESHOLD => '0.0999', 'ambiguous value "0.0999" in ERROR_RATE_THRESHOLD: write 0.0999% or 9.99%'],
        [ERROR_RATE_THRESHOLD => '0.0010', 'ambiguous value "0.0010" in ERROR_RATE_THRESHOLD: write 0.0010% or 0.1%'],
        (map { [ERROR_RATE_THRESHOLD => $_, "invalid value \"$_\" in ERROR_RATE_THRESHOLD: a percentage from 0 to 100 is needed, 2 means 2%"] }
            '2 %', '2%%', '%', '.5%', '5.%', '100.0001%', '101', '-1', '0.00001%', '1e1', '2,5', '18446744073709551616'),
        [SLACK_PROXY => 'socks5://u:canary@proxy', 'invalid value in SLACK_PROXY: an http or https URL is needed'],
        [SLACK_PROXY => 'http://proxy; include x', 'invalid value in SLACK_PROXY: an http or https URL is needed'],
        [SLACK_CA_FILE => './secrets/ca.pem', 'invalid value "./secrets/ca.pem" in SLACK_CA_FILE: the name of a file in ./secrets is needed'],
        [SLACK_CA_FILE => 'ca.pem', 'SLACK_CA_FILE: there is no file "ca.pem" in ./secrets'],
        [SLACK_CA_FILE => '..', 'SLACK_CA_FILE: there is no file ".." in ./secrets'],
        [RUNBOOK_URL => 'wiki', 'invalid value "wiki" in RUNBOOK_URL: a URL is needed'],
        [SLACK_WEBHOOK_URL => '', 'SLACK_WEBHOOK_URL is not set'],
    ) {
        my ($name, $value, $expected) = @$_;
        my ($status, $text) = configure($host, { $name => $value }, '--start');
        is($status, 1, "refused: $name=$value");
        is($text, "poolwatch: $expected\n", 'in one line');
    }
    is(conf($host), $before, 'and the configuration is the one before');
});

subtest('a folder for logs that cannot be used costs the access log, and no more', sub {
    my $host = container();
    program($host, 'nginx', "#!/bin/sh\n");
    configure($host, {});
    like(conf($host), qr{access_log \S+/var/log/nginx/access\.log pools;}, 'usually there is one');
    unlink "$host->{prefix}/var/log/nginx/access.log";
    rmdir "$host->{prefix}/var/log/nginx" or die $!;
    $host->write_file('var/log/nginx', "not a folder\n");
    my ($status, $text) = configure($host, {});
    is($status, 0, 'nginx will start') or diag $text;
    like($text, qr{^poolwatch: no access log is written, \./logs/nginx cannot be used: Not a directory$}m, 'and why is said');
    like(conf($host), qr/listen     8080;\n    access_log off;/, 'it keeps no access log then');
});

# With the real nginx, and the real files but for paths, addresses and ports: they are made such that a second stack can run beside them.
sub with_nginx {
    my ($host) = @_;
    my ($root, $module, $nginx) = ($host->{prefix}, Poolwatch::module(), Poolwatch::nginx());
    $host->{ports}{STATUS} = Poolwatch::free_port();
    my %changes = (
        'nginx.conf' => [
            ['/usr/lib/nginx/modules/ngx_http_poolwatch_module.so' => $module],
            ['/run/nginx.pid' => 'nginx.pid'],
            ['worker_processes auto' => "worker_processes $host->{workers}"],
            ['error_log        stderr' => 'error_log logs/error.log'],
            ['server_tokens off;' => join ' ', map { "${_}_temp_path ${_}_temp;" } qw(client_body proxy fastcgi uwsgi scgi)],
        ],
        'templates/app.conf.template' => [
            ['listen     8080' => "listen 127.0.0.1:$host->{ports}{PORT}"],
            ['/var/lib/poolwatch' => "$root/var/lib/poolwatch"],
        ],
        'templates/status.conf.template' => [['8090' => "127.0.0.1:$host->{ports}{STATUS}"]],
    );
    for my $file (sort keys %changes) {
        my $text = repository("nginx/$file");
        for (@{ $changes{$file} }) {
            my ($from, $to) = @$_;
            $text =~ s/\Q$from\E/$to/ or BAIL_OUT("$file has no \"$from\"");
        }
        $host->write_file("etc/nginx/$file", $text);
    }
    program($host, 'nginx', "#!/bin/sh\nexec $nginx -p $root/ \"\$@\"\n");
}

subtest('the default stack starts without a warning, as others do not', sub {
    my $host = container();
    with_nginx($host);
    my %servers = (BLUE_SERVER => '127.0.0.1:3001', GREEN_SERVER => '127.0.0.1:3002');
    my ($status, $text) = configure($host, { %servers, SLACK_WEBHOOK_URL => $mock });
    is($status, 0, 'nginx accepts it');
    unlike($text, qr/\[/, 'and remarks on nothing') or diag $text;
    (undef, $text) = configure($host, { %servers, SLACK_WEBHOOK_URL => 'http://mock-slack.example/services/T/B/canary' });
    like($text, qr/\[warn\] .*"poolwatch_receiver" sends its credential to "mock-slack\.example" in clear text/, 'a public host is another matter');
    $host->finish;
});

# An application of which some paths fail, whoever is asked.
sub failing_app {
    my ($host, $pool) = @_;
    my $port = $host->{ports}{ uc $pool } = Poolwatch::free_port();
    $host->raw_server($pool, $port, sub {
        my ($socket) = @_;
        my ($path, $length) = ('', 0);
        while (defined(my $line = <$socket>)) {
            $path = $1 if $line =~ m{^[A-Z]+ (\S+)};
            last if $line =~ /^\r?\n$/;
        }
        my %answers = (
            '/500' => answer('500 No', $pool), '/503' => answer('503 No', $pool),
            '/close' => '', '/garbage' => "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        );
        # Kept open, and never answered.
        return $socket if $path eq '/hang';
        print $socket $answers{$path} // answer('200 OK', $pool);
        close $socket;
        return;
    });
}

sub answer { return "HTTP/1.1 $_[0]\r\nX-App-Pool: $_[1]\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n" }

# What they find in the access log, and what they do not: the path is the client's.
sub commands_of_the_runbook {
    my ($host) = @_;
    for my $path ('/a%20b%205/x', '/x%22%20599%20upstream_status=%22500', '/x%20upstream_status=') { $host->get($path) }
    my $log = "$host->{prefix}/var/log/nginx/access.log";
    my @commands = repository('runbook.md') =~ /(awk .*?) logs\/nginx\/access\.log/g;
    is(scalar @commands, 2, 'the runbook has two commands for the access log');
    for my $command (@commands) {
        my @found = `$command $log`;
        is(scalar(grep { m{"GET /500" 50[02] } } @found), 6, "$command: finds each that failed");
        is(join('', grep { !/" 50[0-9] / } @found), '', 'and no other');
    }
}

for my $active (qw(blue green)) {
    subtest("one URL that fails on both costs no other request its answer, with $active active", sub {
        my $host = container();
        failing_app($host, $_) for qw(blue green);
        $host->slack;
        with_nginx($host);
        my %env = (
            ACTIVE_POOL => $active, BLUE_SERVER => "127.0.0.1:$host->{ports}{BLUE}", GREEN_SERVER => "127.0.0.1:$host->{ports}{GREEN}",
            SLACK_WEBHOOK_URL => "http://127.0.0.1:$host->{ports}{SLACK}/services/T/B/x",
        );
        my ($status, $text) = configure($host, \%env, '--start');
        is($status, 0, 'nginx accepts the configuration') or BAIL_OUT($text);
        $host->{env} = { SLACK_WEBHOOK_URL => $env{SLACK_WEBHOOK_URL} };
        $host->start;
        unlike($host->error_log, qr/\[warn\]/, 'it starts without a warning');
        is($host->get('/')->{headers}{'x-app-pool'}, $active, "$active serves");
        for (['GET', '/500', 6], ['GET', '/503', 6], ['POST', '/500', 6], ['GET', '/close', 6], ['GET', '/garbage', 6], ['GET', '/hang', 2]) {
            my ($method, $path, $times) = @$_;
            my @answers = map { $host->http($method, $host->{ports}{PORT}, $path, timeout => 15)->{status} } 1 .. $times;
            my @good = grep { $_ < 500 || $_ > 504 } @answers;
            is("@good", '', "$method $path fails: @answers");
            is_deeply($host->get_many(40), { 200 => 40 }, 'and 40 ordinary requests are answered');
        }
        commands_of_the_runbook($host);
        $host->finish;
    });
}

done_testing;
