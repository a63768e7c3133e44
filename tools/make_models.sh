#!/usr/bin/env bash
# The models that ship with basecast, from public genomes: data, training, calibration, numbers, package.
#
#   tools/make_models.sh DATA [WORK]     DATA holds human/ and spombe/; WORK (by default models/) is where it goes on
#
# Each step is a verb that goes on where it stood. An hour or two on one core for each model.
set -euo pipefail
data=$(realpath "$1")
work=${2:-models}
tools=$(dirname "$(realpath "$0")")
python=${PYTHON:-python}
mkdir -p "$work"
cd "$work"

[ -e human ] || basecast create-data -R "$data/human/GRCh38_regions.fa.gz" -A "$data/human/GRCh38_regions.lrg.gff3.gz" \
    -O human --canonical-tag LRG_t1 --split spliceai-human --contig-groups "$data/human/GRCh38_regions.tsv.gz" \
    --mask-annotation "$data/human/GRCh38_regions.gff3.gz" --species "Homo sapiens" --genome-build GRCh38
printf 'contig\tsplit\nI\ttrain\nII\ttrain\nIII\ttest\n' > pombe-splits.tsv
[ -e pombe ] || basecast create-data -R "$data/spombe/genome.fa.gz" -A "$data/spombe/genes.gff3.gz" \
    -O pombe --split-list pombe-splits.tsv --species "Schizosaccharomyces pombe" --genome-build ASM294v2

recipe=(--context 400 --sampling biased --window 400 --batch-size 64 --rate 0.002 --warm-up 100 --weight-decay 0.05
    --average 0.999 --seed 1 --threads 1 --licence Apache-2.0)
[ -e human-400 ] || basecast train --data human -O human-400 "${recipe[@]}" --samples-per-epoch 15360 --epochs 18
[ -e pombe-400 ] || basecast train --data pombe -O pombe-400 "${recipe[@]}" --samples-per-epoch 15360 --epochs 5

for species in human pombe; do
    model=$species-400
    [ -e "calibrated/$model" ] || basecast calibrate -m "$model" --data "$species" -O "calibrated/$model"
    [ -e "$model-numbers" ] || basecast evaluate -m "calibrated/$model" --data "$species" -O "$model-numbers"
    [ -e "ready/$model" ] || "$python" "$tools/ship_model.py" "calibrated/$model" "$model-numbers" "ready/$model"
done
echo "the packages are in $work/ready: src/basecast/zoo/embedded holds those that ship"
