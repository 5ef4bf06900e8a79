# docs/performance.md, of which tools/bench writes the part between two markers. Text in, text out: t/bench.t tries it without a bench.
package Bench::Page;

use strict;
use warnings;
use utf8;

use Text::Wrap ();

use constant NAME => 'docs/performance.md';

# No line of the documents is longer, but for tables.
use constant COLUMNS => 120;

# The page with this text between its markers.
sub with_tables {
    my ($page, $text) = @_;
    my $wrapped = wrapped($text);
    $page =~ s/(<!-- bench -->\n).*?(<!-- \/bench -->)/$1$wrapped$2/s or die NAME . " has no markers\n";
    return $page;
}

# Each line of prose or of a list, as several if it is too long. Rows of tables and pictures stay as they are.
sub wrapped {
    my ($text) = @_;
    local $Text::Wrap::columns = COLUMNS + 1;
    local $Text::Wrap::huge = 'overflow';
    local $Text::Wrap::unexpand = 0;
    return join '', map { /^(?:\||!\[|$)/ ? "$_\n" : Text::Wrap::wrap('', /^\* / ? '  ' : '', $_) . "\n" } split /\n/, $text;
}

1;
