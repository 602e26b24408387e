#!/bin/sh
# Writes a JSON document as a Swift source file with an enumeration that holds its text.
# Usage: embed.sh DOCUMENT NAME OUTPUT
set -eu

document=$1 name=$2 output=$3

# Where the text could end the literal, or hold what a literal does not keep: JSON needs neither.
if grep -q '"""###\|\\###' "$document" || LC_ALL=C grep -q "$(printf '\r')" "$document"; then
    echo "error: $document holds a carriage return or a sequence that a Swift literal cannot carry" >&2
    exit 1
fi
{
    echo "/// The text of $(basename "$document")."
    echo "enum $name {"
    echo '    static let text = ###"""'
    cat "$document"
    # The literal leaves out the line break before its end; the document has one.
    printf '\n"""###\n}\n'
} >"$output.new"
mv "$output.new" "$output"
