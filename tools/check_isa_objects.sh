#!/bin/sh
# check_isa_objects.sh <build dir>: the objects that are compiled for a newer instruction set may not
# define weak symbols. The linker could give such a copy to code that runs on every CPU.
set -eu
build=${1:?usage: check_isa_objects.sh <build dir>}
found=0
bad=0
for object in $(find "$build" -path '*/kernels/isa/*/table.cpp.o' | sort); do
    found=$((found + 1))
    # Kinds: V and W weak (defined), u unique; lower case v and w are undefined references.
    if weak=$(nm --defined-only "$object" | awk '$2 ~ /^[VWu]$/' | grep .); then
        echo "$object defines weak symbols:"
        echo "$weak"
        bad=1
    fi
done
if [ "$found" -eq 0 ]; then
    echo "no table objects under $build: build bloom_kernels first" >&2
    exit 2
fi
[ "$bad" -eq 0 ] && echo "$found table objects, no weak symbols"
exit "$bad"
