/* Part of float_tmpl.c, attention_tmpl.c and train/ops_rows_tmpl.c. */

/* exp of ref/exp.h, operation by operation. */
INLINE v16 v16_exp(v16 x) {
    v16 n = v16_round(v16_mul(x, v16_set1(TERN_EXP_LOG2E)));
    v16 r = v16_fma(n, v16_set1(-TERN_EXP_LN2_HI), x);
    r = v16_fma(n, v16_set1(-TERN_EXP_LN2_LO), r);
    v16 p = v16_set1(1.0f / 5040.0f);
    p = v16_fma(p, r, v16_set1(1.0f / 720.0f));
    p = v16_fma(p, r, v16_set1(1.0f / 120.0f));
    p = v16_fma(p, r, v16_set1(1.0f / 24.0f));
    p = v16_fma(p, r, v16_set1(1.0f / 6.0f));
    p = v16_fma(p, r, v16_set1(0.5f));
    p = v16_fma(p, r, v16_set1(1.0f));
    p = v16_fma(p, r, v16_set1(1.0f));
    return v16_if_less(x, v16_set1(TERN_EXP_MIN), v16_zero(), v16_mul(p, v16_pow2(n)));
}
