#!/bin/sh
# Builds the self-test guest and writes it as a Swift source file.
# Usage: build.sh SWIFTC SOURCES WORK OUTPUT
# Needs the Swift toolchain's swiftc, clang and ld.lld, and od, tr and sed.
set -eu

swiftc=$1 sources=$2 work=$3 output=$4

# swiftc may be a link into the toolchain (swiftly and distributions do so): its neighbours are at the real place.
tools=$(dirname "$(readlink -f "$swiftc")")
tool() {
    if [ -x "$tools/$1" ]; then echo "$tools/$1"
    elif command -v "$1" >/dev/null 2>&1; then command -v "$1"
    else
        echo "error: $1 is missing beside $tools/swiftc; it belongs to the Swift toolchain" >&2
        exit 1
    fi
}
clang=$(tool clang)
lld=$(tool ld.lld)

mkdir -p "$work"
cd "$work"

# Integer registers only: the guest neither enables nor saves vector state. No stack protector: it needs what a bare
# machine has not.
"$swiftc" -target x86_64-unknown-none-elf -swift-version 6 -wmo -parse-as-library -Osize \
    -enable-experimental-feature Embedded -enable-experimental-feature Extern \
    -Xfrontend -function-sections -Xfrontend -disable-stack-protector \
    -Xcc -mno-sse -Xcc -mno-mmx -Xcc -mno-red-zone -Xcc -ffreestanding \
    -module-name SelfTest -module-cache-path "$work/modules" -warnings-as-errors \
    -c "$sources"/*.swift -o guest.o

# The flags above are a request; this is the check, where the toolchain brings the means.
if [ -x "$tools/llvm-objdump" ] && "$tools/llvm-objdump" -d --no-show-raw-insn guest.o | grep -E '%[xyz]mm[0-9]|%st\(' >&2
then
    echo "error: the compiler used vector or floating-point registers in the guest, which does not enable them" >&2
    exit 1
fi

objects=guest.o
for source in "$sources"/*.S; do
    object=$(basename "$source" .S).o
    "$clang" -target x86_64-unknown-none-elf -c "$source" -o "$object"
    objects="$objects $object"
done

# shellcheck disable=SC2086 # a list of names without spaces
"$lld" -T "$sources/link.ld" --gc-sections --strip-all --build-id=none -n -static -o guest.elf $objects

{
    echo "// Made by Firmware/SelfTest/build.sh."
    echo "enum SelfTestBytes {"
    echo "    /// The guest's ELF file, two letters a byte: a is 0, p is 15, the high half first."
    printf '    static let letters: StaticString = "'
    od -An -v -tx1 guest.elf | tr -d ' \n' | tr '0-9a-f' 'a-p'
    echo '"'
    echo "}"
} >"$output.new"
mv "$output.new" "$output"
