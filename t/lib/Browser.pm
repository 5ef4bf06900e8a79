package Browser;

# A real Chromium without a window, controlled by its chromedriver over WebDriver. It only reaches loopback.
#
#   my $browser = Browser->new($host);         # a Poolwatch host: its folder is used, its finish ends what is left
#   my $browser = Browser->new($host, 'a.test' => '127.0.0.1');    # with names that mean loopback
#   $browser->open("http://127.0.0.1:$port/");
#   $browser->run('return document.title');    # a function's body; arguments follow
#   $browser->until('return document.title == arguments[0]', 'the title', 'blue');
#   $browser->click('button');  $browser->type('input', 'text');
#   $browser->look(width => 320, scheme => 'dark', scripts => 0);
#   $browser->complaints;                      # what the console has against the page since the last time
#   $browser->quit;

use strict;
use warnings;

use HTTP::Tiny;
use JSON::PP;
use MIME::Base64 qw(decode_base64);
use Poolwatch;

# WebDriver's key for the reference to an element.
my $ELEMENT = 'element-6066-11e4-a52e-4f735466cecf';

sub is_installed { return -x '/usr/bin/chromium' && -x '/usr/bin/chromedriver' }

sub new {
    my ($class, $host, %names) = @_;
    my $profile = "$host->{prefix}/browser";
    my $self = bless { host => $host, profile => $profile, json => JSON::PP->new->utf8->allow_nonref }, $class;
    $host->spawn('chromedriver', { HOME => $host->{prefix} }, undef, 'chromedriver', '--port=0');
    my $started = sub { $host->written('chromedriver.out') =~ /started successfully on port (\d+)/ && $1 };
    $self->{port} = Poolwatch::wait_until($started, 'chromedriver', 30);
    my @flags = (
        '--headless=new', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', '--no-first-run',
        '--no-proxy-server', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--lang=en-GB',
        '--host-resolver-rules=' . join(', ', (map { "MAP $_ $names{$_}" } sort keys %names), 'MAP * ~NOTFOUND', 'EXCLUDE 127.0.0.1'),
        "--user-data-dir=$profile",
    );
    # Chromium's own sandbox does not work for root.
    push @flags, '--no-sandbox' if $> == 0;
    my %wanted = ('goog:chromeOptions' => { args => \@flags }, 'goog:loggingPrefs' => { browser => 'ALL' });
    my $session = $self->command('POST', '/session', { capabilities => { alwaysMatch => \%wanted } });
    $self->{session} = "/session/$session->{sessionId}";
    return $self;
}

# Opens an address, and waits until the whole page has loaded.
sub open {
    my ($self, $url) = @_;
    $self->in_session('POST', '/url', { url => $url });
}

# Runs a script in the page and returns its result.
sub run {
    my ($self, $script, @arguments) = @_;
    return $self->in_session('POST', '/execute/sync', { script => $script, args => \@arguments });
}

# Waits until a script in the page returns something true.
sub until {
    my ($self, $script, $what, @arguments) = @_;
    return Poolwatch::wait_until(sub { $self->run($script, @arguments) }, $what, 20);
}

# The visible text of an element; without such an element an empty text.
sub text {
    my ($self, $selector) = @_;
    return $self->run('return document.querySelector(arguments[0])?.innerText ?? ""', $selector);
}

sub click { my ($self, $selector) = @_; $self->element($selector, 'click', {}) }
sub type  { my ($self, $selector, $text) = @_; $self->element($selector, 'value', { text => $text }) }

# Presses a key; the element with the focus receives it.
sub press {
    my ($self, $key) = @_;
    my @actions = map { { type => $_, value => $key } } qw(keyDown keyUp);
    $self->in_session('POST', '/actions', { actions => [{ type => 'key', id => 'keyboard', actions => \@actions }] });
}

sub element {
    my ($self, $selector, $action, $body) = @_;
    my $found = $self->in_session('POST', '/element', { using => 'css selector', value => $selector });
    return $self->in_session('POST', "/element/$found->{$ELEMENT}/$action", $body);
}

# How the next page is shown: its width and height, `light` or `dark`, with or without scripts.
sub look {
    my ($self, %how) = @_;
    my ($width, $height) = ($how{width} // 1100, $how{height} // 800);
    my @features = ({ name => 'prefers-color-scheme', value => $how{scheme} // 'light' });
    $self->devtools('Emulation.setEmulatedMedia', features => \@features);
    my $is_phone = $width < 500 ? JSON::PP::true : JSON::PP::false;
    my %size = (width => 0 + $width, height => 0 + $height, deviceScaleFactor => 1, mobile => $is_phone);
    $self->devtools('Emulation.setDeviceMetricsOverride', %size);
    my $is_off = ($how{scripts} // 1) ? JSON::PP::false : JSON::PP::true;
    $self->devtools('Emulation.setScriptExecutionDisabled', value => $is_off);
}

# A picture of the visible part, as PNG.
sub picture { my ($self) = @_; return decode_base64($self->in_session('GET', '/screenshot')) }

sub complaints {
    my ($self) = @_;
    my $lines = $self->in_session('POST', '/se/log', { type => 'browser' });
    return join "\n", map { "$_->{level}: $_->{message}" } grep { $_->{level} =~ /SEVERE|WARNING/ } @$lines;
}

sub devtools {
    my ($self, $command, %parameters) = @_;
    return $self->in_session('POST', '/goog/cdp/execute', { cmd => $command, params => \%parameters });
}

sub in_session { my ($self, $method, $path, $body) = @_; return $self->command($method, "$self->{session}$path", $body) }

sub command {
    my ($self, $method, $path, $body) = @_;
    my %content = $body ? (content => $self->{json}->encode($body)) : ();
    my $client = HTTP::Tiny->new(timeout => 60, keep_alive => 0);
    my $response = $client->request($method, "http://127.0.0.1:$self->{port}$path", \%content);
    $response->{success} or die "$method $path: $response->{content}\n";
    return $self->{json}->decode($response->{content})->{value};
}

# Ends the browser: all processes that were started with this profile.
sub quit {
    my ($self) = @_;
    my $session = delete $self->{session} or return;
    eval { $self->command('DELETE', $session) };
    eval { Poolwatch::wait_until(sub { !$self->processes }, 'Chromium to end', 5) } or kill 'KILL', $self->processes;
}

sub processes {
    my ($self) = @_;
    return grep { Poolwatch::title($_) =~ /\Q$self->{profile}\E/ } map { m{(\d+)$} } glob '/proc/[0-9]*';
}

sub DESTROY { my ($self) = @_; local ($?, $@); $self->quit }

1;
