#!/usr/bin/env bash
# tern bench --energy on made-up sensors: what was measured agrees with itself, what is estimated with figures worked
# out by hand, and the two are never mixed.
. "$(dirname "$0")/lib.sh"

json() { # EXPRESSION of d, the object in $out, r its first result, m and e what was measured and estimated
    python3 -c 'import json, sys
d = json.load(sys.stdin)
r = d["results"][0]
m, e = r["energy_measured"], r["energy_estimated"]
print(eval(sys.argv[1]))' "$1" <<<"$out"
}
put() { # FILE TEXT, below $sys
    mkdir -p "$sys/$(dirname "$1")"
    printf '%s\n' "$2" >"$sys/$1"
}
model=$WORK/tiny.gguf
"$TERN" synth "$model" --shape tiny 2>"$WORK/synth.err" || fail "synth: $(cat "$WORK/synth.err")"
nvml=none
energy() { # NAME ARGUMENT...
    local name=$1
    shift
    run "$name" "$TERN" bench "$model" -t 1 -p 16 -n 8 -r 2 --idle 0.1 --energy --sysfs "$sys" --nvml "$nvml" "$@"
    is "$status" 0
}

# --- nothing to read: said, and only an estimate
sys=$WORK/none
energy "no sensors"
has "$out" "nothing can be read here; $sys has no counter of RAPL"
has "$out" "energy estimated, not measured"
has "$out" "arXiv 2310.11453"
energy "no sensors, JSON" --json
is "$(json 'm')" None
has "$(json 'r["energy_unavailable"]')" "no counter of RAPL"
# the estimate, by hand: 4 layers of hidden 256, FFN 768, 4 heads of 64 and 2 of keys; vocabulary from the file
vocabulary=$("$TERN" inspect "$model" --json | python3 -c 'import json, sys
print([t["shape"][0] for t in json.load(sys.stdin)["tensors"] if t["name"] == "token_embd.weight"][0])')
is "$(json 'e["decode"]["context_tokens"], e["prefill"]["context_tokens"]')" "(20.5, 8.5)"
is "$(json 'e["decode"]["int8_additions"]')" "$((4 * (256 * 255 * 2 + 128 * 255 * 2 + 768 * 255 * 2 + 256 * 767))).0"
is "$(json 'e["prefill"]["int8_additions"] == e["decode"]["int8_additions"]')" True
# 16 heads: 20.5 scores of 64 long vectors, 64 sums of 20.5 values; and the head
is "$(json 'e["decode"]["fp16_additions"]')" \
    "$(python3 -c "print(16 * (20.5 * 63 + 64 * 19.5) + $vocabulary * 255)")"
is "$(json 'e["decode"]["fp16_multiplications"]')" \
    "$(python3 -c "print(16 * 2 * 20.5 * 64 + $vocabulary * 256 + 4 * (512 * 2 + 384 * 2 + 1024 * 3))")"
is "$(json '[abs(e[p]["joules_per_token_7nm"] / (1e-12 * (e[p]["int8_additions"] * 0.007 + e[p]["fp16_additions"] * 0.16 +
    e[p]["fp16_multiplications"] * 0.34)) - 1) < 1e-9 for p in ("prefill", "decode")]')" "[True, True]"
is "$(json '[abs(e[p]["joules_per_token_45nm"] / (1e-12 * (e[p]["int8_additions"] * 0.03 + e[p]["fp16_additions"] * 0.4 +
    e[p]["fp16_multiplications"] * 1.1)) - 1) < 1e-9 for p in ("prefill", "decode")]')" "[True, True]"
is "$(json 'all(e[p]["joules_per_token_7nm_fp16_weights"] > 2 * e[p]["joules_per_token_7nm"] for p in ("prefill", "decode"))')" True
run "bench without energy" "$TERN" bench "$model" -t 1 -p 16 -n 8 -r 1 --json
hasnt "$out" energy

# --- a sensor that always shows 25 W: energy over time is that, whatever the time
sys=$WORK/power
put class/hwmon/hwmon3/name power_meter
put class/hwmon/hwmon3/power1_average 25000000
energy "25 W" -b 2 --json
is "$(json 'm["method"], [s["source"] for s in m["sources"]]')" "('hwmon', ['hwmon:power_meter:power1'])"
is "$(json '[abs(m[p + "_watts"] - 25) < 1e-6 for p in ("idle", "prefill", "decode", "batch")]')" "[True, True, True, True]"
is "$(json '[m[p + "_joules_per_token"] > 0 for p in ("prefill", "decode", "batch")]')" "[True, True, True]"
is "$(json '[abs(m[p + "_joules_per_token_above_idle"]) < 1e-6 * m[p + "_joules_per_token"] for p in ("prefill", "decode", "batch")]')" \
    "[True, True, True]"
is "$(json 'r["energy_unavailable"]')" None
# not the estimate's figures, and none of them in the measured ones
is "$(json 'sorted(k for k in e if "watts" in k), sorted(k for k in m if "nm" in k)')" "([], [])"
energy "25 W, as text"
has "$out" "energy measured, 1 thread: of the whole machine or processor, other programs included"
has "$out" "hwmon:power_meter:power1"
has "$out" "at 25.0 W (0 J without idle)"
has "$out" "idle 25.0 W"
energy "not idle" --json --idle 0
is "$(json '"idle_watts" in m, "decode_joules_per_token_above_idle" in m, abs(m["decode_watts"] - 25) < 1e-6')" "(False, False, True)"

# --- RAPL goes before a battery, which is another figure
put class/powercap/intel-rapl:0/name package-0
put class/powercap/intel-rapl:0/energy_uj 7000000
put class/powercap/intel-rapl:0/max_energy_range_uj 262143328850
put class/powercap/intel-rapl:0:0/name dram
put class/powercap/intel-rapl:0:0/energy_uj 7000000
put class/power_supply/BAT0/type Battery
put class/power_supply/BAT0/status Discharging
put class/power_supply/BAT0/power_now 12000000
energy "RAPL, a sensor and a battery" --json
is "$(json 'm["method"], m["decode_joules_per_token"]')" "('RAPL', 0.0)"
is "$(json '[(s["source"], s["in_sum"], round(s["decode_watts"], 6)) for s in m["sources"]]')" \
    "[('rapl:package-0', True, 0.0), ('rapl:package-0:dram', True, 0.0), ('hwmon:power_meter:power1', False, 25.0), ('battery:BAT0', False, 12.0)]"
energy "RAPL, a sensor and a battery, as text"
has "$out" "RAPL, together"

# --- what cannot be read
sys=$WORK/mains
put class/power_supply/BAT0/type Battery
put class/power_supply/BAT0/status Charging
put class/power_supply/BAT0/power_now 12000000
energy "a battery that is charged"
has "$out" "nothing can be read here; $sys/class/power_supply/BAT0: the battery is not discharging"
energy "a battery that is charged, JSON" --json
is "$(json 'm')" None
if [ "$(id -u)" != 0 ]; then
    sys=$WORK/forbidden
    put class/powercap/intel-rapl:0/name package-0
    put class/powercap/intel-rapl:0/energy_uj 7000000
    chmod 0 "$sys/class/powercap/intel-rapl:0/energy_uj"
    energy "RAPL for root only"
    has "$out" "sudo chmod a+r $sys/class/powercap/intel-rapl:*/energy_uj"
fi

# --- cards, by a made-up library: each on a line of its own, in no sum
if [ "${FAKE_NVML_LIBRARY:-}" ]; then
    nvml=$FAKE_NVML_LIBRARY
    export FAKE_NVML=$WORK/cards
    printf 'NVIDIA_H200 5000 70000\nTesla_K80 - 60000\n' >"$FAKE_NVML"
    sys=$WORK/power
    energy "cards beside RAPL" --json
    is "$(json 'm["method"], m["decode_joules_per_token"]')" "('RAPL', 0.0)"
    is "$(json '[(s["source"], s["method"], s["in_sum"], round(s["decode_watts"], 6)) for s in m["sources"]
        if s["source"].startswith("nvml")]')" \
        "[('nvml:0:NVIDIA_H200', 'NVML', False, 0.0), ('nvml:1:Tesla_K80', 'NVML', False, 60.0)]"
    sys=$WORK/none
    energy "cards alone"
    has "$out" "energy measured, 1 thread: of graphics cards alone, nothing of the processor"
    has "$out" "nvml:1:Tesla_K80"
    has "$out" "at 60.0 W"
    has "$out" "the whole card meanwhile, whoever uses it; tern computes on the CPU, so it is in no sum"
    has "$out" "not read: $sys has no counter of RAPL"
    hasnt "$out" ", together"
    rm "$FAKE_NVML"
    energy "no driver"
    has "$out" "nothing can be read here; $sys has no counter of RAPL"
    nvml=none
fi
fails 2 "out of range" "idle for ever" "$TERN" bench "$model" --energy --idle 601
finish
