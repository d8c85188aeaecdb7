//! GF(2^8) with the polynomial 0x11d, without tables: for secrets.
//!
//! **Invariant.** No branch and no address depends on an operand, so a share's bytes do not show in
//! timing (attack A21). The field is the erasure code's, so one table in the format document
//! serves.
//!
//! **Deliberately absent.** Slices at speed: `erasure` uses the library's SIMD kernels, whose
//! operands are ciphertext and public matrices.
//!
//! **Crash.** Values only.

/// The field's polynomial without its highest term.
const POLYNOMIAL: u8 = 0x1d;

/// The product of two elements.
pub(crate) const fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut product) = (a, b, 0_u8);
    let mut bit = 0;
    while bit < 8 {
        product ^= (b & 1).wrapping_neg() & a;
        a = a << 1 ^ (a >> 7).wrapping_neg() & POLYNOMIAL;
        b >>= 1;
        bit += 1;
    }
    product
}

/// The inverse of an element other than zero; zero yields zero.
pub(crate) const fn invert(a: u8) -> u8 {
    // a^254, the product of a^(2^i) for i in 1..=7.
    let mut square = a;
    let mut inverse = 1;
    let mut step = 0;
    while step < 7 {
        square = multiply(square, square);
        inverse = multiply(inverse, square);
        step += 1;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;
    use reed_solomon_erasure::galois_8;

    #[test]
    fn products_and_inverses_are_those_of_the_erasure_code() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(multiply(a, b), galois_8::mul(a, b), "{a} * {b}");
            }
            if a != 0 {
                assert_eq!(invert(a), galois_8::div(1, a), "1 / {a}");
            }
        }
        assert_eq!(invert(0), 0);
    }
}
