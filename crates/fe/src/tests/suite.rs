//! The suite that every scheme passes.

use super::{corners, integers, label, master, rng};
use crate::{
    Bounds, Ddh, DdhAdaptive, FeError, Functionals, InnerProduct, MasterSeed, Mlwe, Pad, Rlwe, Scheme, Windows,
};

/// Everything that the trait promises, on a few vectors.
fn promises<S>(scheme: &S)
where
    S: InnerProduct<FunctionKeys: PartialEq, Ciphertext: PartialEq>,
{
    let bounds = scheme.bounds();
    let (values, functionals) = corners(bounds, 5, 4, 1);
    let samples = values.len() / bounds.dimension();
    let a = master(scheme, "a");
    let mut key = scheme.encryption_key(&a);
    let ciphertext = scheme.encrypt(&mut key, &values, &mut rng(2)).unwrap();
    let keys = scheme.function_keys(&a, &functionals, samples).unwrap();
    assert_eq!(scheme.decrypt(&ciphertext, &keys).unwrap(), functionals.evaluate(&values));

    // The same seed and label give the same keys; another seed or label others.
    let again = scheme.function_keys(&master(scheme, "a"), &functionals, samples).unwrap();
    assert!(keys == again);
    for other in [master(scheme, "b"), scheme.master_key(&MasterSeed::from_bytes([6; 32]), &label("a"))] {
        let other = scheme.function_keys(&other, &functionals, samples).unwrap();
        assert!(keys != other);
        assert!(matches!(scheme.decrypt(&ciphertext, &other), Err(FeError::OtherMasterKey { .. })));
    }

    // None of anything is a result too.
    let none = Functionals::dense(bounds.dimension(), &[]).unwrap();
    let no_keys = scheme.function_keys(&a, &none, samples).unwrap();
    assert_eq!(scheme.decrypt(&ciphertext, &no_keys), Ok(vec![]));
    let empty = scheme.encrypt(&mut scheme.encryption_key(&a), &[], &mut rng(3)).unwrap();
    assert_eq!(scheme.decrypt(&empty, &keys), Ok(vec![]));

    // What the bounds do not allow is refused.
    let mut large = values.clone();
    large[bounds.dimension()] = bounds.data() as i32 + 1;
    let refused = scheme.encrypt(&mut key, &large, &mut rng(4)).err();
    assert_eq!(refused, Some(FeError::Data { index: bounds.dimension(), bound: bounds.data() }));
    if bounds.dimension() > 1 {
        let refused = scheme.encrypt(&mut key, &values[1..], &mut rng(4)).err();
        assert!(matches!(refused, Some(FeError::Length { .. })));
    }
    let weight = bounds.weight() as i32 + 1;
    let heavy = Functionals::sparse(bounds.dimension(), [vec![], vec![(0, -weight)]]).unwrap();
    let refused = scheme.function_keys(&a, &heavy, samples).err();
    assert_eq!(refused, Some(FeError::Weight { functional: 1, found: (-weight).into(), bound: bounds.weight() }));
    let wide = Functionals::dense(bounds.dimension() + 1, &vec![0; bounds.dimension() + 1]).unwrap();
    assert!(matches!(scheme.function_keys(&a, &wide, samples), Err(FeError::Length { .. })));
}

/// Many products, exactly.
fn products<S: InnerProduct>(scheme: &S, samples: usize, functionals: usize) {
    let (values, functionals) = corners(scheme.bounds(), samples, functionals, 7);
    let master = master(scheme, "products");
    let ciphertext = scheme.encrypt(&mut scheme.encryption_key(&master), &values, &mut rng(8)).unwrap();
    let keys = scheme.function_keys(&master, &functionals, samples + 3).unwrap();
    assert!(scheme.decrypt(&ciphertext, &keys).unwrap() == functionals.evaluate(&values));
}

fn bounds(dimension: usize, data: u32, weight: u32) -> Bounds {
    Bounds::new(dimension, data, weight).unwrap()
}

#[test]
fn ddh_keeps_the_promises() {
    promises(&Ddh::new(bounds(5, 40, 9)));
    promises(&Ddh::new(Bounds::sparse(7, 3, 3, 1).unwrap()));
    promises(&Ddh::new(bounds(1, 1, 1)));
    promises(&DdhAdaptive::new(bounds(5, 40, 9)));
    promises(&DdhAdaptive::new(Bounds::sparse(7, 3, 3, 1).unwrap()));
}

#[test]
fn pads_keep_the_promises() {
    // Results of 32 and of 64 bits.
    for pad in [Pad::new(bounds(5, 40, 9)), Pad::new(bounds(9, 1 << 20, 1 << 24)), Pad::new(bounds(1, 1, 1))] {
        assert_eq!(pad.is_wide(), pad.bounds().data() > 40);
        promises(&pad);
    }
    promises(&Pad::new(Bounds::sparse(40, 3, 255, 127).unwrap()));
}

#[test]
fn lattice_schemes_keep_the_promises() {
    promises(&Mlwe::new(bounds(5, 40, 9)).unwrap());
    promises(&Mlwe::new(bounds(9, 1 << 16, 1 << 15)).unwrap());
    promises(&Mlwe::new(Bounds::sparse(40, 3, 255, 127).unwrap()).unwrap());
    promises(&Mlwe::new(bounds(1, 1, 1)).unwrap());
    promises(&Rlwe::new(bounds(3, 40, 9)).unwrap());
    promises(&Rlwe::new(Bounds::sparse(4, 2, 255, 127).unwrap()).unwrap());
}

/// The parameters for pixels and 8-bit weights at the dimension of an image.
#[test]
fn parameters_reach_128_bits_and_are_those_of_the_notes() {
    let mlwe = Mlwe::new(bounds(784, 255, 127)).unwrap();
    assert_eq!((mlwe.rank(), mlwe.log_q().round()), (42, 60.0));
    assert!((128.0..132.0).contains(&mlwe.security_bits()));
    let rlwe = Rlwe::new(bounds(785, 255, 127)).unwrap();
    assert_eq!((rlwe.degree(), rlwe.log_q().round()), (8192, 114.0));
    assert!(rlwe.log_q() > 113.6 && rlwe.security_bits() > 220.0);
    // 16-bit weights on a whole image.
    let wide = Mlwe::new(bounds(784, 255, 1 << 15)).unwrap();
    assert!(wide.rank() > mlwe.rank() && wide.security_bits() > 128.0);
    assert!(matches!(Mlwe::new(bounds(1 << 14, 255, 1 << 20)), Err(FeError::Bounds { .. })));
    assert!(matches!(Rlwe::new(bounds(1 << 14, 255, 1 << 20)), Err(FeError::Bounds { .. })));
}

#[test]
fn products_of_many_vectors_are_exact() {
    products(&Ddh::new(bounds(3, 12, 15)), 400, 12);
    products(&DdhAdaptive::new(bounds(3, 12, 15)), 100, 12);
    // A million.
    products(&Pad::new(bounds(25, 255, 127)), 9997, 97);
    products(&Pad::new(bounds(784, 255, 1 << 15)), 97, 17);
    products(&Mlwe::new(bounds(25, 255, 127)).unwrap(), 9997, 97);
    products(&Mlwe::new(bounds(784, 255, 127)).unwrap(), 61, 5);
    products(&Rlwe::new(bounds(7, 255, 127)).unwrap(), 10_000, 97);
}

#[test]
fn dimensions_of_windows_and_images_are_exact() {
    let small = Ddh::with_logarithms(
        bounds(25, 255, 127),
        std::sync::Arc::new(crate::DiscreteLogs::with_table(25 * 255 * 127, 1 << 16)),
    );
    products(&small, 3, 4);
    let large = Ddh::with_logarithms(
        bounds(784, 255, 127),
        std::sync::Arc::new(crate::DiscreteLogs::with_table(784 * 255 * 127, 1 << 18)),
    );
    products(&large, 2, 3);
}

/// A convolution from one ciphertext of the image, and from one of its windows.
#[test]
fn convolutions_are_exact_in_both_forms() {
    let windows = Windows { channels: 1, height: 9, width: 8, kernel: 3, stride: 1, padding: 1 };
    let mut random = rng(9);
    let image: Vec<i32> = integers(&mut random, windows.image(), 15);
    let filters = integers(&mut random, 3 * windows.dimension(), 7);
    let of_image = windows.functionals(&filters).unwrap();
    let of_windows = Functionals::dense(windows.dimension(), &filters).unwrap();
    let expected = of_image.evaluate(&image);

    fn open<S: InnerProduct>(scheme: &S, functionals: &Functionals, values: &[i32]) -> Vec<i64> {
        let master = master(scheme, "image");
        let samples = values.len() / scheme.bounds().dimension();
        let ciphertext = scheme.encrypt(&mut scheme.encryption_key(&master), values, &mut rng(1)).unwrap();
        let keys = scheme.function_keys(&master, functionals, samples).unwrap();
        scheme.decrypt(&ciphertext, &keys).unwrap()
    }
    let whole = Bounds::sparse(windows.image(), windows.dimension(), 15, 7).unwrap();
    let each = bounds(windows.dimension(), 15, 7);
    let vectors = windows.samples(&image).unwrap();
    assert_eq!(open(&Ddh::new(whole), &of_image, &image), expected);
    assert_eq!(open(&Pad::new(whole), &of_image, &image), expected);
    assert_eq!(open(&Ddh::new(each), &of_windows, &vectors), expected);
    assert_eq!(open(&Pad::new(each), &of_windows, &vectors), expected);
}

/// Values beyond the declared range are errors, never other values.
#[test]
fn values_beyond_the_declared_range_are_errors() {
    let scheme = Ddh::with_logarithms(bounds(2, 100, 100), std::sync::Arc::new(crate::DiscreteLogs::new(5000)));
    let master = master(&scheme, "a");
    let ciphertext = scheme.encrypt(&mut scheme.encryption_key(&master), &[50, 50, 50, 51], &mut rng(1)).unwrap();
    let keys = scheme.function_keys(&master, &Functionals::dense(2, &[1, 1, 50, 50]).unwrap(), 2).unwrap();
    let out_of_range = FeError::OutOfRange { functional: 1, sample: 1, bound: 5000 };
    assert_eq!(scheme.decrypt(&ciphertext, &keys), Err(out_of_range));
}

#[test]
fn prepared_keys_and_large_batches_encrypt_alike() {
    let scheme = Ddh::new(bounds(2, 9, 9));
    let master = master(&scheme, "a");
    let values = integers(&mut rng(1), 2 * 120, 9);
    let few = &values[..6];
    let mut key = scheme.encryption_key(&master);
    let plain = scheme.encrypt(&mut key, few, &mut rng(2)).unwrap();
    let many = scheme.encrypt(&mut key, &values, &mut rng(2)).unwrap();
    key.prepare();
    assert!(scheme.encrypt(&mut key, few, &mut rng(2)).unwrap() == plain);
    assert!(scheme.encrypt(&mut key, &values, &mut rng(2)).unwrap() == many);
}

/// Samples of one label may be encrypted in several calls, and noise comes out as it went in.
#[test]
fn pads_go_on_and_carry_noise() {
    let pad = Pad::new(bounds(2, 100, 10));
    let master = master(&pad, "a");
    let mut key = pad.encryption_key(&master);
    let functionals = Functionals::dense(2, &[1, 2, -3, 0]).unwrap();
    let keys = pad.function_keys(&master, &functionals, 3).unwrap();
    let first = pad.encrypt(&mut key, &[1, 2, 3, 4], &mut rng(1)).unwrap();
    let second = pad.encrypt(&mut key, &[5, 6], &mut rng(1)).unwrap();
    let third = pad.encrypt(&mut key, &[5, 6], &mut rng(1)).unwrap();
    assert_eq!(pad.decrypt(&first, &keys), Ok(vec![5, 11, -3, -9]));
    assert_eq!(pad.decrypt(&second, &keys), Ok(vec![17, -15]));
    assert!(second.body != third.body);
    assert_eq!(pad.decrypt(&third, &keys), Err(FeError::Samples { found: 4, wanted: 3 }));

    let noise = [10, -20, 30, -40, 50, -60];
    let noisy = pad.function_keys_with_noise(&master, &functionals, 3, &noise).unwrap();
    assert_eq!(pad.decrypt(&first, &noisy), Ok(vec![15, -9, -43, 41]));
    assert!(matches!(pad.function_keys_with_noise(&master, &functionals, 3, &noise[1..]), Err(FeError::Length { .. })));
    let far = pad.function_keys_with_noise(&master, &functionals, 3, &[2000; 6]).unwrap();
    let out_of_range = FeError::OutOfRange { functional: 0, sample: 0, bound: 2000 };
    assert_eq!(pad.decrypt(&first, &far), Err(out_of_range));
}

#[test]
fn every_scheme_says_what_it_rests_on() {
    for (scheme, other) in Scheme::ALL.iter().zip(Scheme::ALL.iter().cycle().skip(1)) {
        let info = scheme.info();
        assert!(![info.name, info.source, info.assumption, info.security].contains(&""));
        assert_ne!(info.name, other.info().name);
        assert_eq!(scheme.to_string(), info.name);
    }
}
